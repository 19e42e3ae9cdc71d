"""Close the previous month and write its statements."""

from __future__ import annotations

from shared.application.billing.build_statement import BuildStatement
from shared.application.ledger.close_period import ClosePeriod
from shared.application.ports.clock import Clock
from shared.domain.billing.manifest import StatementFile
from shared.domain.identifiers import BillingPeriod


class ExportChargeback:
    """Closes the previous period and writes its statements, for the timer `export_chargeback`."""

    def __init__(self, close: ClosePeriod, build: BuildStatement, clock: Clock) -> None:
        self._close = close
        self._build = build
        self._clock = clock

    async def __call__(self) -> tuple[StatementFile, ...]:
        """Returns the period's files. Raises `PeriodNotOver` before the end of the grace."""
        period = BillingPeriod.containing(self._clock.now()).previous()
        await self._close(period)
        return await self._build(str(period))
