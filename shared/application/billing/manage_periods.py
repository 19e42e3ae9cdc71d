"""List, close and export billing periods by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

from shared.application.audit.record_audit import Actor, RecordAudit
from shared.application.background import Background
from shared.application.billing.build_statement import BuildStatement, FileDamaged
from shared.application.billing.export_chargeback import ExportChargeback
from shared.application.ledger.close_period import ClosePeriod
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.domain.billing.manifest import StatementFile
from shared.domain.billing.period_status import ListedPeriods, PeriodState, PeriodStatus
from shared.domain.damaged_row import DamagedRow
from shared.domain.errors import NotFound, RowsDamaged
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Lane, LaneState

T = TypeVar("T")
PATIENCE_SECONDS = 60.0
"""A caller waits this long, and the work goes on after that."""
_READ_AT_ONCE = 32


class ManagePeriods:
    """A period exists if a lane was ever opened in it. Closing and exporting are idempotent and audited."""

    def __init__(
        self,
        ledger: Ledger,
        close: ClosePeriod,
        build: BuildStatement,
        export: ExportChargeback,
        background: Background,
        audit: RecordAudit,
        clock: Clock,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._ledger = ledger
        self._close = close
        self._build = build
        self._export = export
        self._background = background
        self._audit = audit
        self._clock = clock
        self._patience_seconds = patience_seconds

    async def list(self) -> ListedPeriods:
        """Return all periods, and the rows of the registry that are damaged. Raises `StorageUnavailable`."""
        found, damaged = await _readable(self._ledger.periods())
        periods = [await self._status(period) for period in found[::-1]]
        return ListedPeriods(periods, [*damaged, *(row for each in periods for row in each.damaged)])

    async def close(self, period: BillingPeriod, actor: Actor) -> PeriodStatus:
        """Close all lanes of a period. Its state is `closing` in the result if that takes longer than a caller waits.

        Raises `NotFound`, `PeriodNotOver`, and `SweepFailed` for lanes that could not be closed.
        """
        await self._find(period)
        await self._audit(actor, "period.close", str(period))
        await self._wait(self._close(period))
        return await self._status(period)

    async def export(self, period: BillingPeriod, actor: Actor) -> tuple[StatementFile, ...] | None:
        """Close a period if it is not closed, and write its statements if they are not written.

        Returns the files; `None` if that takes longer than a caller waits. Raises what `close` raises.
        """
        await self._find(period)
        await self._audit(actor, "period.export", str(period))
        return await self._wait(self._export.period(period))

    async def _find(self, period: BillingPeriod) -> None:
        async for _ in self._ledger.lanes(str(period)):
            return
        raise NotFound(f"No tenant has books in {period}.")

    async def _wait(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of `work`; `None` after `patience_seconds`. It goes on, and a daily timer repeats it."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def finish() -> None:
            try:
                answer.set_result(await work)
            except Exception as error:  # noqa: BLE001 - the waiter raises it
                answer.set_exception(error)
                answer.exception()  # marks it as retrieved: the waiter may have gone

        self._background.start(finish())
        await asyncio.wait([answer], timeout=self._patience_seconds)
        return answer.result() if answer.done() else None

    async def _status(self, period: BillingPeriod) -> PeriodStatus:
        lanes, damaged = await _readable(self._ledger.lanes(str(period)))
        not_closed: tuple[Lane, ...] = ()
        if self._clock.now() < period.end:
            state = PeriodState.OPEN
        elif await self._is_exported(period):
            state = PeriodState.EXPORTED
        else:
            not_closed = await self._not_closed(lanes)
            state = PeriodState.CLOSING if not_closed or damaged else PeriodState.CLOSED
        return PeriodStatus(
            period=period,
            state=state,
            closable_from=self._close.due_from(period),
            lanes=len(lanes),
            lanes_not_closed=not_closed,
            damaged=tuple(damaged),
        )

    async def _is_exported(self, period: BillingPeriod) -> bool:
        """Return whether the files of a period are written. A damaged manifest is; `verify` names it."""
        try:
            return await self._build.manifest(str(period)) is not None
        except FileDamaged:
            return True

    async def _not_closed(self, lanes: Sequence[Lane]) -> tuple[Lane, ...]:
        found: tuple[Lane, ...] = ()
        for first in range(0, len(lanes), _READ_AT_ONCE):
            part = lanes[first : first + _READ_AT_ONCE]
            states = await asyncio.gather(*(self._is_closed(lane) for lane in part))
            found += tuple(lane for lane, is_closed in zip(part, states, strict=True) if not is_closed)
        return found

    async def _is_closed(self, lane: Lane) -> bool:
        """Return whether a lane is closed. One whose balance cannot be read is not."""
        try:
            balance = await self._ledger.balance(lane)
        except RowsDamaged:
            return False
        return balance is not None and balance.state is LaneState.CLOSED


async def _readable(items: AsyncIterator[T]) -> tuple[list[T], Sequence[DamagedRow]]:
    """Return the items of a list, and the rows that cannot be read."""
    found: list[T] = []
    try:
        async for item in items:
            found.append(item)  # noqa: PERF401 - those before the error count
    except RowsDamaged as error:
        return found, error.rows
    return found, ()
