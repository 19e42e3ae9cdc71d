"""A stored row of the price book that cannot be trusted, and the prices that it may stand for."""

from __future__ import annotations

from collections.abc import Set

from shared.domain.damaged_row import DamagedRow
from shared.domain.errors import UnpricedModel
from shared.domain.pricing.usage import Meter
from shared.domain.values import record


class PricesDamaged(UnpricedModel):
    """Rows of the price book are damaged that may price the request. The message names them."""


@record
class DamagedPrice:
    """A row that is not as the gateway writes it. What it may price is refused, because no other row may replace it."""

    row: str
    """Table, partition and key of the row, as `prices/gpt-4o/k0123`."""
    message: str
    """The fault of the row, in words."""
    models: frozenset[str]
    """The models that it may price: those that its partition and its content name. Empty if nothing tells one."""
    meter: Meter | None = None
    """The only meter that it may price, if the row's key proves that; `None` for any meter."""

    def concerns(self, model: str, meters: Set[Meter]) -> bool:
        """Tell whether the row may price one of these meters of a model."""
        return (not self.models or model in self.models) and (self.meter is None or self.meter in meters)

    @property
    def effect(self) -> str:
        """The requests that are refused because of the row, in words."""
        models = f"models {', '.join(sorted(self.models))}" if self.models else "all models"
        meter = f" that '{self.meter}' may price" if self.meter else ""
        return f"Requests for {models}{meter} are refused."

    @property
    def with_effect(self) -> DamagedRow:
        """The row, with its fault and its effect as the message."""
        return DamagedRow(self.row, f"{self.message}. {self.effect}")

    def __str__(self) -> str:
        return f"{self.row} ({self.message})"
