"""Record administrative acts in the audit log."""

from __future__ import annotations

from shared.application.ports.audit import AuditLog
from shared.application.ports.clock import Clock
from shared.domain.audit.events import AuditEvent
from shared.domain.identifiers import new_rid
from shared.domain.values import ValueObject, record


@record
class Actor:
    """The person or process that acts, its role and network address, and the request by which it acts."""

    name: str
    source_address: str = ""
    role: str = ""
    request_id: str = ""
    reason: str = ""
    """The reason that the actor states."""


class RecordAudit:
    """Records one change. Management use cases call it after the change is stored."""

    def __init__(self, log: AuditLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    async def __call__(
        self,
        actor: Actor,
        action: str,
        target: str,
        *,
        before: ValueObject | None = None,
        after: ValueObject | None = None,
    ) -> None:
        """Append an event with the target before and after the change. Raises `StorageUnavailable`.

        The change then stands without a record: the caller sees the error and repeats the change.
        """
        event = AuditEvent(
            event_id=new_rid(),
            at=self._clock.now(),
            actor=actor.name,
            action=action,
            target=target,
            before=before,
            after=after,
            source_address=actor.source_address,
        )
        await self._log.record(event)
