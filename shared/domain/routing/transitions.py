"""Changes of the circuit breakers of one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.domain.routing.backend_health import BackendHealth


@dataclass(slots=True)
class Transitions:
    """Counts the changes of all breakers of this process: opened, closed, probe begun or ended.

    An unchanged count tells a tier that its table of ready backends is still right.
    """

    count: int = 0
    report: Callable[[BackendHealth], None] | None = None
    """Called when a breaker opens, stays open longer, or closes."""

    def opened_or_closed(self, health: BackendHealth) -> None:
        """Count a change of a breaker, and report it."""
        self.count += 1
        if self.report is not None:
            self.report(health)
