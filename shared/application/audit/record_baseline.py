"""Record one event for each document that is older than the audit log, so that an edit of it is found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Final

from shared.application.audit.record_audit import Actor
from shared.application.ports.audit import AuditedDocument, AuditedDocuments, StoredBaseline
from shared.application.ports.clock import Clock
from shared.application.ports.jobs import SweepCursors
from shared.application.sweep import Sweep
from shared.domain.audit.baseline import Baseline
from shared.domain.errors import AlreadyExists, VersionConflict
from shared.domain.identifiers import timestamp

_GATEWAY: Final = Actor(name="gateway")
BASELINE: Final = "baseline"
"""The action of the event that tells a document as it was found."""
_PASSED: Final = "baseline-passed"
"""The cursor that holds the time at which every document first had an event."""
_WAIT: Final = timedelta(hours=1)
"""The time in which an update ends: processes of earlier versions may still store documents without an event."""


class RecordBaseline:
    """Part of the timer `chain_audit`. It goes through all documents twice, an hour apart, and is then complete.

    - A document and its event are one transaction. So two processes, or one that died, record it once.
    - The event tells the SHA-256 of the text that was found. It does not tell who wrote it.
    """

    def __init__(
        self,
        documents: AuditedDocuments,
        stored: StoredBaseline,
        cursors: SweepCursors,
        clock: Clock,
        slice_seconds: float,
    ) -> None:
        self._documents = documents
        self._stored = stored
        self._cursors = cursors
        self._clock = clock
        self._sweep = Sweep(cursors, clock, slice_seconds)
        self._is_complete = False

    async def __call__(self) -> int:
        """Record what is missing, for one slice of time. Returns the number of events.

        Raises `StorageUnavailable`, and `SweepFailed` for documents that failed, once all others are done.
        """
        self._is_complete = self._is_complete or await self._stored.is_complete()
        passed = "" if self._is_complete else await self._cursors.get(_PASSED)
        now = self._clock.now()
        if self._is_complete or timestamp(now - _WAIT) < passed <= timestamp(now):
            return 0
        swept = await self._sweep(BASELINE, self._without_event(), self._record, lambda each: "/".join(each.place))
        if swept.is_complete and passed:
            event = _GATEWAY.event(
                self._clock.now(), "baseline.complete", "documents", after=Baseline(completed_at=now)
            )
            with suppress(AlreadyExists):  # another process has completed it
                await self._stored.complete(Baseline(completed_at=now), event)
        elif swept.is_complete:
            await self._cursors.put(_PASSED, timestamp(now))
        return swept.done

    async def _without_event(self) -> AsyncIterator[AuditedDocument]:
        async for document in self._documents.all():
            if not document.event_id:
                yield document

    async def _record(self, document: AuditedDocument) -> int:
        """Store the event of a document, as it is by then. Returns 0 if it has one, or is gone."""
        found: AuditedDocument | None = document
        while found is not None and not found.event_id:
            with suppress(VersionConflict):  # it has changed
                await self._documents.add_event(found, _GATEWAY.event(self._clock.now(), BASELINE, found.target))
                return 1
            found = await self._documents.get(document.place)
        return 0
