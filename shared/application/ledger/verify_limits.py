"""Compare the limit entries of a period with all audit events, chained and waiting."""

from __future__ import annotations

from collections.abc import Sequence

from shared.application.audit.verify_audit_log import MAX_SEQ
from shared.application.audit.verify_documents import MOST_WAITING
from shared.application.ledger.audited_limits import AuditedLimits, BookedLimit, LimitsCompared
from shared.application.ports.audit import AuditChain, AuditPeriods, WaitingEvents


class VerifyLimits:
    """Reads the events after the entries: the event of each entry that was read is then stored."""

    def __init__(self, waiting: WaitingEvents, chain: AuditChain, periods: AuditPeriods) -> None:
        self._waiting = waiting
        self._chain = chain
        self._periods = periods

    async def __call__(self, booked: Sequence[BookedLimit], period: str, only: str | None) -> LimitsCompared:
        """Compare the entries of all tenants, or of one. Raises `StorageUnavailable`.

        Waiting events are read first, because they become chained ones. Months are asked last for what retention has
        deleted: all others were complete.
        """
        limits = AuditedLimits()
        for table in self._waiting.tables:
            for row in await self._waiting.waiting(table, MOST_WAITING):
                if row.event is not None:
                    limits.add(row.event.text)
        async for month in self._chain.periods():
            async for entry in self._chain.entries(month, 1, MAX_SEQ):
                limits.add(entry.text)
        async for month in self._chain.periods():
            state = await self._periods.get(month)
            if state is not None and state.deleted is not None:
                limits.deleted_months.add(month)
        return limits.compare(booked, period, only)
