"""Keep months of the audit log by legal holds, and delete those whose retention is over."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

from shared.application.audit.record_audit import Actor
from shared.application.ports.audit import AuditChain, AuditPeriods, UnchainedEvents
from shared.application.ports.clock import Clock
from shared.application.ports.jobs import SweepCursors
from shared.application.sweep import Failures
from shared.domain.audit.audit_chain import AuditHead
from shared.domain.audit.audit_period import AuditPeriod
from shared.domain.errors import VersionConflict
from shared.domain.identifiers import BillingPeriod

_JOB: Final = "audit_retention"
_RETENTION: Final = Actor(name="tallygate", reason="AUDIT_RETENTION_MONTHS")


class ManageAuditPeriods:
    """The use cases of `/manage/audit/holds`, and of retention. All methods raise `StorageUnavailable`.

    A month is either put on hold or deleted: both change the same document, so that none undoes the other.
    """

    def __init__(
        self,
        chain: AuditChain,
        unchained: UnchainedEvents,
        periods: AuditPeriods,
        cursors: SweepCursors,
        clock: Clock,
        retention_months: int,
    ) -> None:
        """`retention_months` of 0 keeps everything for ever."""
        self._chain = chain
        self._unchained = unchained
        self._periods = periods
        self._cursors = cursors
        self._clock = clock
        self._retention_months = retention_months

    async def hold(self, period: BillingPeriod, actor: Actor) -> AuditPeriod:
        """Keep a month until the hold is released. Idempotent: a second hold changes nothing."""
        while True:
            before, now = await self._periods.get(str(period)), self._clock.now()
            if before is not None and before.hold_since is not None:
                return before
            state = before or AuditPeriod(period=str(period))
            after = replace(state, hold_since=now, hold_by=actor.name, hold_reason=actor.reason)
            with suppress(VersionConflict):
                return await self._store(actor, "audit.hold", now, before, after)

    async def release(self, period: BillingPeriod, actor: Actor) -> AuditPeriod:
        """Release the hold on a month. Idempotent. Retention may delete it from then on."""
        while True:
            before = await self._periods.get(str(period))
            if before is None or before.hold_since is None:
                return before or AuditPeriod(period=str(period))
            after = replace(before, hold_since=None, hold_by="", hold_reason="")
            with suppress(VersionConflict):
                released = await self._store(actor, "audit.release", self._clock.now(), before, after)
                await self._cursors.put(_JOB, "")  # the month may be due
                return released

    async def expire(self) -> int:
        """Delete the events of months that ended longer ago than the retention, but of those on hold.

        Those of earlier versions are deleted, too. Returns the number of events. The head of each chain stays, and the
        deletion is an event. It is told again before that event is deleted, so that the newest months explain all
        others. Raises `SweepFailed` for months that failed, once all others are done.
        """
        due = self._due()
        if not self._retention_months or await self._cursors.get(_JOB) == due:
            return 0
        failures, removed = Failures(), 0
        chained = {period async for period in self._chain.periods("", due)}
        for period in sorted(chained.union(await self._unchained.periods(due))):
            with failures.collected(f"the log of {period}"):
                removed += await self._expire(period)
        for period in sorted(chained):
            with failures.collected(f"the deletion of {period}"):
                await self._tell_again(period, due)
        failures.raise_any()
        await self._cursors.put(_JOB, due)
        return removed

    async def _tell_again(self, period: str, due: str) -> None:
        """Store the event of a deletion again, if the month that holds it is over its own retention."""
        state = await self._periods.get(period)
        if state is None or state.deleted is None or state.deleted_at is None:
            return
        told_at = state.told_at or state.deleted_at
        if str(BillingPeriod.containing(told_at)) < due:
            now = self._clock.now()
            await self._store(_RETENTION, "audit.delete", now, state, replace(state, told_at=now))

    def _due(self) -> str:
        """Return the first month that is kept."""
        first = BillingPeriod.containing(self._clock.now())
        for _ in range(self._retention_months):
            first = first.previous()
        return str(first)

    async def _expire(self, period: str) -> int:
        while True:
            before, head, now = await self._periods.get(period), await self._chain.head(period), self._clock.now()
            state = before or AuditPeriod(period=period)
            if state.hold_since is not None:
                return 0
            end = head or AuditHead(period, 0, "")
            if state.deleted_at is None or state.deleted_seq != end.seq:
                after = replace(state, deleted_at=now, deleted_seq=end.seq, deleted_head=end.head, told_at=None)
                try:
                    await self._store(_RETENTION, "audit.delete", now, before, after)
                except VersionConflict:  # such as a hold at the same time
                    continue
            return await self._unchained.remove(period) + await self._chain.remove(period, end.seq)

    async def _store(
        self, actor: Actor, action: str, now: datetime, before: AuditPeriod | None, after: AuditPeriod
    ) -> AuditPeriod:
        await self._periods.replace(after, actor.event(now, action, after.period, before=before, after=after))
        return after
