"""The page of an evidence package that people read. All that it shows is in the package's other files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared.application.ports.evidence import PackageFacts
from shared.domain.billing.statements import PeriodStatements


class SummaryRenderer(Protocol):
    """A format of the page. Renders the same facts as the same bytes at any time."""

    def render(
        self,
        package: PackageFacts,
        periods: Sequence[tuple[str, PeriodStatements | None]],
        leaves: int,
        checkpoint: str,
        events: Sequence[tuple[str, int]],
    ) -> bytes:
        """Render the page.

        - `periods` has the statements of each period; `None` for one that is not exported.
        - `checkpoint` is the newest one; empty if there is none.
        - `events` has the number of audit events of each month.
        """
        ...
