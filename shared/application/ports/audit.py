"""The port to the audit log."""

from __future__ import annotations

from typing import Protocol

from shared.domain.audit.events import AuditEvent


class AuditLog(Protocol):
    """Administrative acts. Raises `StorageUnavailable`."""

    async def record(self, event: AuditEvent) -> None:
        """Append an event."""
        ...
