"""Close the months that are over, and write their statements."""

from __future__ import annotations

from shared.application.alerts.raise_once import RaiseOnce
from shared.application.billing.build_statement import BuildStatement
from shared.application.ledger.close_period import ClosePeriod
from shared.application.ledger.swept_lanes import lane_name
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.sweep import Failures
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.billing.manifest import Manifest, StatementFile
from shared.domain.errors import GatewayError
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import NOTHING
from shared.domain.pricing.money import PUSD_PER_CENT, usd


class LanesNotExported(GatewayError):
    """Lanes of an exported period were opened after the export. The message names those with usage."""


class ExportChargeback:
    """Closes and exports every period whose grace is over, for the timer `export_chargeback`.

    Running late, twice, concurrently, or after a run that died is harmless: no byte of a file changes.
    """

    def __init__(
        self,
        ledger: Ledger,
        close: ClosePeriod,
        build: BuildStatement,
        raise_once: RaiseOnce,
        clock: Clock,
        slice_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._close = close
        self._build = build
        self._raise_once = raise_once
        self._clock = clock
        self._slice_seconds = slice_seconds

    async def __call__(self) -> dict[BillingPeriod, tuple[StatementFile, ...]]:
        """Returns the files of each period that was left to export, the oldest first.

        - A period whose lanes need another slice of time has no files yet.
        - No period begins after a slice of time; the next run continues.
        - Raises `SweepFailed` for the periods that could not be exported, once all others are.
        """
        failures, ends = Failures(), self._clock.monotonic() + self._slice_seconds
        exported: dict[BillingPeriod, tuple[StatementFile, ...]] = {}
        with failures.collected("the list"):
            async for period in self._ledger.periods():
                with failures.collected(str(period)):
                    if self._clock.monotonic() < ends and await self._is_left(period):
                        exported[period] = await self.period(period) or ()
        failures.raise_any()
        return exported

    async def _is_left(self, period: BillingPeriod) -> bool:
        """Return whether a period is due and not exported. Raises what `_close_late_lanes` raises."""
        if not self._close.is_due(period):
            return False
        manifest = await self._build.manifest(str(period))
        if manifest is not None:
            await self._close_late_lanes(period, manifest)
            await self._tell(period, manifest)
        return manifest is None

    async def _tell(self, period: BillingPeriod, manifest: Manifest) -> None:
        """Raise the alert of a period that is closed, at the first run that finds it so. Older ones need none."""
        now = self._clock.now()
        if period < BillingPeriod.containing(now).previous().previous():
            return
        totals = {"tokens": str(manifest.tokens), "cost_usd": usd(manifest.cost_cents * PUSD_PER_CENT)}
        alert = Alert(
            kind=AlertKind.PERIOD_CLOSED,
            event_id=str(period),
            at=now,
            subject=f"periods/{period}",
            data={"period": str(period), **totals, "entries": str(manifest.entries)},
        )
        await self._raise_once(alert)

    async def _close_late_lanes(self, period: BillingPeriod, manifest: Manifest) -> None:
        """Close lanes that the manifest does not name: a process that was frozen since the period may open one.

        Raises `LanesNotExported` for those with usage, because statements that are written never change.
        """
        late = [lane async for lane in self._ledger.lanes(str(period)) if not manifest.names(lane)]
        if not late:
            return
        await self._close(period)
        balances = {lane: await self._ledger.balance(lane) for lane in late}
        used = [lane_name(lane) for lane, balance in balances.items() if balance and balance.used != NOTHING]
        if used:
            raise LanesNotExported(f"Opened after the export, and in no statement: {', '.join(used)}.")

    async def period(self, period: BillingPeriod) -> tuple[StatementFile, ...] | None:
        """Close and export one period. Returns its files; `None` if its lanes need another slice of time.

        Raises `PeriodNotOver`, `SweepFailed` for lanes that could not be closed, and `PeriodStillOpen` for one that was
        opened meanwhile.
        """
        if not (await self._close(period)).is_complete:
            return None
        return await self._build(str(period))
