"""Record administrative acts."""

from __future__ import annotations

from shared.application.ports.audit import AuditLog
from shared.application.ports.clock import Clock
from shared.domain.audit.events import AuditEvent
from shared.domain.identifiers import new_rid
from shared.domain.values import ValueObject, value


@value
class Actor:
    """An administrator, and the address of the request."""

    name: str
    source_address: str = ""


class RecordAudit:
    """Every management change calls this once it is done, with the object before and after it."""

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
        """Append an act to the audit log. Raises `StorageUnavailable`."""
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
