"""The port to the audit log."""

from __future__ import annotations

from typing import Protocol

from shared.domain.audit.events import AuditEvent


class AuditLog(Protocol):
    """The append-only log of administrative acts."""

    async def record(self, event: AuditEvent) -> None:
        """Append an event. Raises `StorageUnavailable`; the event may then be stored all the same.

        Raises `AlreadyExists` if an event with this id is stored.
        """
        ...
