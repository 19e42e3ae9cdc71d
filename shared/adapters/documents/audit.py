"""Audit events as documents."""

from __future__ import annotations

from shared.adapters.documents.codec import to_json
from shared.adapters.documents.store import Documents
from shared.domain.audit.events import AuditEvent


class DocumentAuditLog:
    """Implements `AuditLog`, with a partition for each month."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def record(self, event: AuditEvent) -> None:
        await self._documents.insert("audit", f"{event.at:%Y%m}", event.event_id, to_json(event))
