"""Azure's own spillover: another deployment of the resource serves what a provisioned one cannot take.

https://learn.microsoft.com/azure/ai-foundry/openai/how-to/spillover-traffic-management
"""

from __future__ import annotations

from typing import Final

from shared.domain.identifiers import label
from shared.domain.pricing.price_book import PriceKey
from shared.domain.routing.answer import Headers
from shared.domain.routing.residency import Placement
from shared.domain.values import record

SPILLOVER_HEADER: Final = "x-ms-spillover-deployment"
"""Asks Azure for spillover. Only a backend's own headers may have it, never a caller's."""
_PREFIX: Final = b"x-ms-spillover-"
_FROM: Final = b"x-ms-spillover-from"
_ERROR: Final = b"x-ms-spillover-error"
_SERVED_BY: Final = b"x-ms-deployment-name"


@record
class Spillover:
    """The deployment that serves in a backend's place. An empty region or zone is that of the backend."""

    deployment: str
    sku: str
    model: str
    model_version: str = ""
    region: str = ""
    zone: str = ""

    @property
    def placement(self) -> Placement:
        """The place where it processes, for residency."""
        return Placement(self.sku, self.region, self.zone)

    @property
    def price_key(self) -> PriceKey:
        """The key of its prices."""
        return PriceKey(model=self.model, model_version=self.model_version, sku=self.sku, region=self.region)


def mentions_spillover(headers: Headers) -> bool:
    """Tell whether an answer says anything of spillover. Every answer is asked."""
    for name, _ in headers:  # noqa: SIM110 - a generator costs three times as much (ADR 12)
        if name.startswith(_PREFIX):
            return True
    return False


def served_by(headers: Headers) -> str | None:
    """Return the deployment that served instead; empty if the answer does not say which, `None` if none did."""
    if not any(name.startswith(_FROM) for name, _ in headers):
        return None
    return label(dict(headers).get(_SERVED_BY, b"").decode("latin-1"))


def spill_error(headers: Headers) -> str:
    """Return the reason why Azure could not spill, as it states it; empty if it states none."""
    return label(dict(headers).get(_ERROR, b"").decode("latin-1"))
