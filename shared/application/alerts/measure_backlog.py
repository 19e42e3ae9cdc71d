"""Count the alerts that wait for sinks, those that were given up, and those that are damaged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from shared.application.ports.alerts import AlertDeliveries, Backlog
from shared.application.ports.telemetry import Telemetry
from shared.domain.alerts.sink import AlertSink
from shared.domain.telemetry.instruments import OUTBOX_BACKLOG

OF_TENANTS: Final = "tenants"
"""The name under which the sinks of all tenants are counted together, so that series are few."""


class MeasureBacklog:
    """Counts deliveries by sink. `configured` returns all sinks."""

    def __init__(
        self,
        configured: Callable[[], Awaitable[Sequence[AlertSink]]],
        deliveries: AlertDeliveries,
        telemetry: Telemetry,
    ) -> None:
        self._configured = configured
        self._deliveries = deliveries
        self._telemetry = telemetry

    async def __call__(self) -> Mapping[str, Backlog]:
        """Return the backlog of each sink of the platform, and of those of all tenants. Raises `StorageUnavailable`."""
        found: dict[str, list[Backlog]] = defaultdict(list)
        for sink in await self._configured():
            found[OF_TENANTS if sink.tenant_id else sink.name].append(await self._deliveries.backlog(sink))
        return {name: _sum(counts) for name, counts in found.items()}

    async def publish(self) -> int:
        """Set the gauges, for a timer. Returns the number of deliveries that were given up."""
        backlog = await self()
        for name, counted in backlog.items():
            self._telemetry.set(OUTBOX_BACKLOG, counted.waiting, name, "waiting")
            self._telemetry.set(OUTBOX_BACKLOG, counted.dead, name, "dead")
            self._telemetry.set(OUTBOX_BACKLOG, counted.damaged, name, "damaged")
        return sum(each.dead for each in backlog.values())


def _sum(counts: Sequence[Backlog]) -> Backlog:
    return Backlog(
        sum(each.waiting for each in counts), sum(each.dead for each in counts), sum(each.damaged for each in counts)
    )
