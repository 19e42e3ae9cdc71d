"""Write down who changed what."""

from __future__ import annotations

from collections.abc import Mapping

from shared.application.ports.audit import AuditLog
from shared.application.ports.clock import Clock
from shared.domain.audit.events import AuditEvent
from shared.domain.identifiers import new_rid
from shared.domain.values import value


@value
class Actor:
    """Who acts, and from which address."""

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
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> None:
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
