"""Audit events as documents."""

from __future__ import annotations

from shared.adapters.documents.codec import to_json
from shared.adapters.documents.store import Documents
from shared.domain.audit.events import AuditEvent
from shared.domain.pricing.money import usd
from shared.domain.tenancy.grant import TenantGrant
from shared.domain.values import ValueObject, field_names


class DocumentAuditLog:
    """Implements `AuditLog`, with a partition for each month."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def record(self, event: AuditEvent) -> None:
        await self._documents.insert("audit", f"{event.at:%Y%m}", event.event_id, _event_text(event))


def _event_text(event: AuditEvent) -> str:
    """Render an event. Documents are stored: their fields never change names or meanings."""
    fields = {name: getattr(event, name) for name in field_names(AuditEvent)}
    return to_json(fields | {"before": _stored(event.before), "after": _stored(event.after)})


def _stored(changed: ValueObject | None) -> object:
    """Return the fields of an object under their stored names; most are stored under the names of the domain."""
    if isinstance(changed, TenantGrant):
        return {
            "period": changed.period,
            "grant_id": changed.grant_id,
            "tokens": changed.amount.tokens,
            "usd": usd(changed.amount.pusd),
            "reason": changed.reason,
        }
    return changed
