"""Cursors of timers as documents in the table `jobs`."""

from __future__ import annotations

from shared.adapters.documents.store import Documents

_TABLE = "jobs"
_CURSOR_KEY = "cursor"
"""The key of the only document in a job's partition."""


class DocumentCursors:
    """Implements `SweepCursors`. The document is the cursor itself."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def get(self, job: str) -> str:
        document = await self._documents.get(_TABLE, job, _CURSOR_KEY)
        return document.text if document else ""

    async def put(self, job: str, cursor: str) -> None:
        await self._documents.put(_TABLE, job, _CURSOR_KEY, cursor)
