"""Ports to the audit log."""

from __future__ import annotations

from typing import Protocol

from shared.domain.audit.events import AuditEvent


class AuditOutbox(Protocol):
    """The events that wait to be chained and belong to no document. All methods raise `StorageUnavailable`."""

    async def append(self, event: AuditEvent) -> None:
        """Store an event. Raises `AlreadyExists` if one with this id waits."""
        ...

    async def withdraw(self, event: AuditEvent) -> None:
        """Delete an event that waits. Harmless if it is chained."""
        ...
