"""The ports to the state of the gateway itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, TypeVar

T = TypeVar("T")


class States(Protocol[T]):
    """The newest state of each of a few things, by name. All methods raise `StorageUnavailable`."""

    async def note(self, name: str, state: T) -> None:
        """Store a state in place of the one before. Idempotent. Of two that are noted at once one stays."""
        ...

    async def get(self, name: str) -> T | None:
        """Return the state of one thing; `None` if there is none, or one that cannot be read."""
        ...

    async def all(self) -> Mapping[str, T]:
        """Return all states. One that cannot be read is left out."""
        ...

    async def forget(self, name: str) -> None:
        """Delete a state. Harmless if there is none."""
        ...


class Schedules(Protocol):
    """Reads the schedules of timer functions."""

    def last_due(self, schedule: str, before: datetime) -> datetime:
        """Return the last time before `before` at which a timer was due."""
        ...
