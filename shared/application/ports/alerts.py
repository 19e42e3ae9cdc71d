"""The ports to alerts: their outbox, their deliveries, and the sinks that get them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from shared.domain.alerts.alert import Alert
from shared.domain.alerts.delivery import Delivery
from shared.domain.alerts.event import AlertEvent
from shared.domain.alerts.sink import AlertSink, SinkId
from shared.domain.audit.events import AuditEvent
from shared.domain.damaged_row import DamagedRow
from shared.domain.errors import GatewayError
from shared.domain.values import value


class AlertOutbox(Protocol):
    """The alerts that are to be delivered. All methods raise `StorageUnavailable`."""

    async def add(self, alert: Alert) -> bool:
        """Store an alert. Returns false if its kind and id are stored already, which changes nothing.

        Atomic and idempotent. After `StorageUnavailable` the alert may be stored all the same.
        """
        ...

    async def raised(self, limit: int) -> tuple[Sequence[AlertEvent], Sequence[str]]:
        """Return at most `limit` events that are not fanned out yet, and the names of those that were set aside.

        Rows that something else wrote are set aside: they stay stored, and are not returned again.
        """
        ...

    async def was_fanned_out(self, event: AlertEvent) -> bool:
        """Tell whether an event was fanned out. `raised` may return it all the same, if a process died or was slow."""
        ...

    async def fan_out(self, event: AlertEvent, sinks: Sequence[SinkId], at: datetime) -> None:
        """Make a delivery to each sink, and take the event out of the list of `raised`.

        Idempotent: a delivery is made once, also by several processes at once, or if one died on the way. An event that
        was fanned out before gets no new deliveries.
        """
        ...

    async def with_successors(self, tenant_id: str, kind: str, event_id: str) -> Sequence[AlertEvent]:
        """Return the event of this id, and those whose ids begin with it and a colon: fanned out or not.

        They are of one tenant, or of the platform. Those that cannot be read are left out. An event may occur twice.
        """
        ...

    async def of_owner(self, tenant_id: str) -> Sequence[AlertEvent]:
        """Return the events of a tenant, or of the platform, newest first.

        Of those that are not fanned out yet, a few hundred of all owners are looked at, so that the cost is bounded.
        """
        ...

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete at most `limit` events that were fanned out, and are older. Returns their number."""
        ...


class AlertDeliveries(Protocol):
    """The events that wait for each sink. All methods raise `StorageUnavailable`."""

    async def waiting(self, sink: SinkId, limit: int, after: str = "") -> WaitingPage:
        """Return at most `limit` deliveries by name, due or not, those that cannot be read among them."""
        ...

    async def set_aside(self, damaged: DamagedDelivery) -> bool:
        """Take a delivery that cannot be read out of those that wait. It stays stored.

        Returns false if another process has done so, or the row has changed. Otherwise this may be repeated.
        """
        ...

    async def drop(self, delivery: Delivery) -> None:
        """Delete a delivery that is for nobody any more. Harmless if it has ended."""
        ...

    async def lease(self, delivery: Delivery, until: datetime) -> Delivery | None:
        """Begin a try: count it, and let no other process begin one until then. `None` if another was faster."""
        ...

    async def was_delivered(self, delivery: Delivery) -> bool:
        """Tell whether the event reached the sink before, so that it must not be sent again."""
        ...

    async def delivered(self, delivery: Delivery, at: datetime) -> None:
        """End a delivery that succeeded. It is remembered. Harmless if it has ended, or another process has it."""
        ...

    async def postpone(self, delivery: Delivery, due: datetime) -> None:
        """Let the next try begin at `due`. Harmless if it has ended, or another process has it."""
        ...

    async def give_up(self, delivery: Delivery, at: datetime, reason: str, event: AuditEvent) -> bool:
        """End a delivery that failed for good, together with its audit event. Atomic.

        Returns false if it has ended, or another process has it.
        """
        ...

    async def revive(self, sink: AlertSink, at: datetime, limit: int) -> int:
        """Let at most `limit` deliveries that were given up wait again, as new ones. Returns their number.

        Those that were for an earlier sink of the name stay as they are.
        """
        ...

    async def backlog(self, sink: AlertSink) -> Backlog:
        """Count the deliveries of a sink, without those for an earlier one of its name.

        Costs a request for each thousand.
        """
        ...

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete at most `limit` deliveries of all sinks that ended earlier. Returns their number."""
        ...


@value
class DamagedDelivery:
    """A row among the deliveries of a sink that cannot be read."""

    sink_id: SinkId
    key: str
    etag: str


@value
class WaitingPage:
    """Deliveries of one sink. The next page comes after the name `after`; it is empty on the last page."""

    deliveries: Sequence[Delivery]
    damaged: Sequence[DamagedDelivery]
    after: str


@value
class Backlog:
    """The deliveries of one sink that wait, those that were given up and are still kept, and those that are damaged."""

    waiting: int
    dead: int
    damaged: int = 0


class SinkDirectory(Protocol):
    """The sinks that are configured. All methods raise `StorageUnavailable`."""

    async def all(self) -> tuple[Sequence[AlertSink], Sequence[str]]:
        """Return all sinks, and the paths of those whose documents cannot be read."""
        ...

    async def damaged_of(self, tenant_id: str) -> Sequence[DamagedRow]:
        """Return the rows of an owner's sinks that cannot be read."""
        ...

    async def of_owner(self, tenant_id: str) -> Sequence[tuple[AlertSink, str]]:
        """Return the sinks of a tenant, or of the platform, each with the ETag of its version."""
        ...

    async def get(self, sink: SinkId) -> tuple[AlertSink, str] | None:
        """Return a sink and its ETag; `None` if it does not exist."""
        ...

    async def put(self, sink: AlertSink, etag: str | None, event: AuditEvent) -> str:
        """Insert a sink (`etag` is `None`), or replace a version of it, with its audit event. Returns the new ETag.

        Raises `VersionConflict` if another version is stored.
        """
        ...

    async def remove(self, sink: SinkId, etag: str, event: AuditEvent) -> None:
        """Delete a version of a sink, with its audit event. Raises `VersionConflict` if another is stored, or none."""
        ...


class SinkFailed(GatewayError):
    """A sink did not take an event. The message names no address and quotes no answer."""

    def __init__(
        self, reason: str, *, retry_after_seconds: float = 0.0, is_final: bool = False, is_reachable: bool = True
    ) -> None:
        """`is_final` says that no further try can succeed, `is_reachable` that it was this event and not the sink."""
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds
        self.is_final = is_final
        self.is_reachable = is_reachable


class AlertSender(Protocol):
    """Sends events to sinks."""

    def batch_size(self, sink: AlertSink) -> int:
        """Return the most events that one request to the sink may hold."""
        ...

    async def send(self, sink: AlertSink, events: Sequence[AlertEvent]) -> None:
        """Send events in one request, within a bounded time. Raises `SinkFailed`; they may have arrived all the same.

        The same event has the same id and content at every try.
        """
        ...

    async def check(self, sink: AlertSink) -> None:
        """Raise `InvalidRequest` if the address or the secrets of the sink cannot be used. Sends nothing."""
        ...
