"""Actors, the events of their acts, and the record of acts that change no document."""

from __future__ import annotations

from datetime import datetime

from shared.application.ports.audit import AuditOutbox
from shared.application.ports.clock import Clock
from shared.domain.audit.events import AuditEvent
from shared.domain.audit.protections import weakened
from shared.domain.identifiers import rid_at
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

    def event(
        self,
        at: datetime,
        action: str,
        target: str,
        *,
        before: ValueObject | None = None,
        after: ValueObject | None = None,
    ) -> AuditEvent:
        """Return the event of an act of this actor. It is stored in one transaction with the change that it tells."""
        return AuditEvent(
            event_id=rid_at(at),
            at=at,
            actor=self.name,
            action=action,
            target=target,
            before=before,
            after=after,
            source_address=self.source_address,
            role=self.role,
            request_id=self.request_id,
            reason=self.reason,
            weakens=weakened(before, after),
        )


class RecordAudit:
    """Records acts that change no document, such as the closing of a period. They are recorded before they begin."""

    def __init__(self, outbox: AuditOutbox, clock: Clock) -> None:
        self._outbox = outbox
        self._clock = clock

    async def __call__(self, actor: Actor, action: str, target: str, *, after: ValueObject | None = None) -> None:
        """Append an event. Raises `StorageUnavailable`; the event may then be stored all the same."""
        await self._outbox.append(actor.event(self._clock.now(), action, target, after=after))
