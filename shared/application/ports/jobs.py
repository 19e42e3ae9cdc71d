"""The port to the places at which timers continue their work."""

from __future__ import annotations

from typing import Protocol


class SweepCursors(Protocol):
    """By job, the name of the last item that its last run began. All methods raise `StorageUnavailable`.

    Each method is atomic. Two runs at once may overwrite each other's cursor, which only changes where a run begins.
    """

    async def get(self, job: str) -> str:
        """Return the cursor of a job; empty if its last run began every item."""
        ...

    async def put(self, job: str, cursor: str) -> None:
        """Store the cursor of a job. Idempotent."""
        ...
