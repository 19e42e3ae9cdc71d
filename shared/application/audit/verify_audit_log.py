"""Verify the invariant I18: the audit log of a month recomputes, and holds each event once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from shared.application.ports.audit import AuditChain, AuditPeriods
from shared.domain.audit.audit_chain import AuditHead, ChainedEvent, audit_genesis
from shared.domain.audit.hash_chain import ChainVerifier
from shared.domain.audit.key_ends import KeyEnds
from shared.domain.errors import RowsDamaged
from shared.domain.values import record

MAX_SEQ: Final = 10**16 - 2
_MAX_FINDINGS: Final = 1000


@record
class AuditFinding:
    """Something that is wrong in a month's log. `row` names the row that shows it."""

    period: str
    row: str
    message: str


@record
class AuditVerified:
    """The result for one month."""

    period: str
    events: int
    """The entries that were read."""
    first: int
    """The number of the first entry: 1, or the next after those that retention has deleted."""
    head: str
    findings: tuple[AuditFinding, ...]
    unknown_keys: tuple[str, ...]
    """Versions of the chain key that are not known here. Of their entries the `mac` was not checked."""


class VerifyAuditLog:
    """Replays a month's chain over its stored rows. Changes nothing.

    Entries that are added meanwhile are not read: the head is read first. If retention begins to delete meanwhile, the
    month is verified again. It deletes the last entries first. So the first may still be there, and must recompute.
    """

    def __init__(
        self,
        chain: AuditChain,
        verifier: ChainVerifier,
        periods: AuditPeriods,
        key_ends: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`key_ends` has the timestamps from which versions of the chain key must not sign any more."""
        self._key_ends = key_ends
        self._chain = chain
        self._periods = periods
        self._verifier = verifier

    async def __call__(self, period: str) -> AuditVerified:
        """Verify one month, from the end of what retention has deleted of it. Raises `StorageUnavailable`."""
        while True:
            deleted = await self._deleted(period)
            result = await self._verify(period, deleted)
            if await self._deleted(period) == deleted:
                return result

    async def _deleted(self, period: str) -> AuditHead | None:
        state = await self._periods.get(period)
        return state.deleted if state else None

    async def _verify(self, period: str, deleted: AuditHead | None) -> AuditVerified:
        start = deleted or AuditHead(period, 0, audit_genesis(period))
        replay = _Replay(period, self._verifier, start, KeyEnds(self._key_ends))
        try:
            head = await self._chain.head(period)
        except RowsDamaged as error:
            return replay.result([AuditFinding(period=period, row="B", message=str(error))])
        last = head.seq if head else 0
        async for entry in self._chain.entries(period, 1, max(last, replay.seq)):
            replay.add(entry)
        found = [*replay.findings, *replay.compare(head), *await self._marks(period, replay, last)]
        return replay.result([*found, *await self._beyond(period, head)])

    async def _marks(self, period: str, replay: _Replay, last: int) -> list[AuditFinding]:
        """Compare the rows that make events unique with the entries."""
        found = []
        marks = {event_id: seq async for event_id, seq in self._chain.unique_ids(period) if seq <= last}
        for event_id, seq in marks.items() - replay.ids.items() - replay.deleted_ids.items():
            found.append(_at(period, f"U|{event_id}", f"marks an event as entry {seq}, which is not that entry's"))
        for event_id, seq in replay.ids.items():
            if event_id not in marks:
                found.append(_at(period, f"E|{seq:016}", "the row that makes its event unique is missing"))
        return found

    async def _beyond(self, period: str, head: AuditHead | None) -> list[AuditFinding]:
        """Return the entries after the head's, unless the head has moved since it was read."""
        last = head.seq if head else 0
        keys = [f"E|{each.seq:016}" async for each in self._chain.entries(period, last + 1, MAX_SEQ)]
        is_moved = bool(keys) and await self._chain.head(period) != head
        return [] if is_moved else [_at(period, key, "comes after the head's last entry") for key in keys]


class _Replay:
    """The state of a replay: the last number and hash, and what was found."""

    def __init__(self, period: str, verifier: ChainVerifier, start: AuditHead, key_ends: KeyEnds) -> None:
        self._key_ends = key_ends
        self.period = period
        self.first = start.seq + 1
        self.seq = start.seq
        self.head = start.head
        self.ids: dict[str, int] = {}
        self.deleted_ids: dict[str, int] = {}
        """Entries that are still there while retention deletes them."""
        self.findings: list[AuditFinding] = []
        self._deleted = AuditHead(period, 0, audit_genesis(period))
        self._start = start
        self._verifier = verifier
        self._unknown: set[str] = set()

    def add(self, entry: ChainedEvent) -> None:
        """Check the next entry."""
        row = f"E|{entry.seq:016}"
        if entry.seq < self.first:
            self._add_deleted(row, entry)
            return
        self._note(row, [*entry.faults, *self._problems(entry)])
        self.seq, self.head = entry.seq, entry.sealed.hash

    def _add_deleted(self, row: str, entry: ChainedEvent) -> None:
        """Check an entry that retention deletes. Others than the first of the month cannot be checked any more."""
        self.deleted_ids[entry.event_id] = entry.seq
        is_next = entry.seq == self._deleted.seq + 1 and not entry.faults
        fault = self._verifier.check(self._deleted.head, entry.sealed).fault
        self._deleted = AuditHead(self.period, entry.seq, entry.sealed.hash)
        if fault or not is_next or (entry.seq == self._start.seq and self._deleted != self._start):
            self._note(row, ["retention has deleted this entry, and it is there"])

    def _note(self, row: str, problems: Sequence[str]) -> None:
        self.findings += [_at(self.period, row, each) for each in problems][: _MAX_FINDINGS - len(self.findings)]

    def _problems(self, entry: ChainedEvent) -> Iterator[str]:
        if entry.seq != self.seq + 1:
            yield f"follows entry {self.seq}: entries between them are missing"
        link = self._verifier.check(self.head, entry.sealed)
        if link.fault:
            yield link.fault
        if fault := self._key_ends.fault(link.key_version, entry.text):
            yield fault
        if not link.is_key_known:
            self._unknown.add(link.key_version)
        if self.ids.setdefault(entry.event_id, entry.seq) != entry.seq:
            yield f"chains the event of entry {self.ids[entry.event_id]} again"

    def compare(self, head: AuditHead | None) -> Iterator[AuditFinding]:
        """Compare the end of the replay with the stored head."""
        stated = head or AuditHead(self.period, self.first - 1, self.head)
        if (stated.seq, stated.head) != (self.seq, self.head):
            yield _at(self.period, "B", f"the log ends at entry {self.seq}, and its head names {stated.seq}")

    def result(self, findings: list[AuditFinding]) -> AuditVerified:
        """Return what was verified."""
        return AuditVerified(
            period=self.period,
            events=len(self.ids),
            first=self.first,
            head=self.head,
            findings=tuple(findings),
            unknown_keys=tuple(sorted(self._unknown)),
        )


def _at(period: str, row: str, message: str) -> AuditFinding:
    return AuditFinding(period=period, row=row, message=message)
