"""Raise alerts about limits that will not last, and about days that cost far more than usual."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import date, datetime, timedelta

from shared.application.alerts.raise_once import LIMIT, RaiseOnce
from shared.application.billing.watch_budgets import MEASURES, PLATFORM, Measure, subject_of
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger, RollupStore
from shared.application.ports.telemetry import Telemetry
from shared.application.ports.tenancy import TenantDirectory
from shared.application.sweep import Sweep, SweepFailed
from shared.application.tenancy.every_tenant import every_tenant, tenant_name
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.alerts.spending import forecast, unusual_from
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import NOTHING, Amount, Limit
from shared.domain.ledger.lanes import combined
from shared.domain.pricing.money import usd
from shared.domain.telemetry.instruments import QUOTA_FORECAST
from shared.domain.tenancy.tenant import Tenant


class WatchSpending:
    """The use case of the timer `watch_spending`. It reads rollups, so it runs once an hour.

    A day that costs less than `floor_pusd` is no anomaly. `platform` are the limits of all tenants together.
    Running late, twice or never is harmless.
    """

    def __init__(
        self,
        tenants: TenantDirectory,
        ledger: Ledger,
        rollups: RollupStore,
        raise_once: RaiseOnce,
        telemetry: Telemetry,
        clock: Clock,
        sweep: Sweep,
        floor_pusd: int,
        platform: Limit,
    ) -> None:
        self._tenants = tenants
        self._ledger = ledger
        self._rollups = rollups
        self._raise_once = raise_once
        self._telemetry = telemetry
        self._clock = clock
        self._sweep = sweep
        self._floor_pusd = floor_pusd
        self._platform = platform

    async def __call__(self) -> int:
        """Look at every tenant. Returns the number of new alerts.

        Tenants that fail are left for the next run. Raises `SweepFailed` once all others are done: their forecast is
        compared with the limits of all, too, so that one damaged tenant keeps no alert back.
        """
        period, used = str(BillingPeriod.containing(self._clock.now())), NOTHING
        by_day = defaultdict[date, Amount](Amount)

        async def watch(tenant: Tenant) -> int:
            nonlocal used
            days = await self._days(tenant.tenant_id)
            raised = await self._find_anomalies(tenant, days)
            balances = await self._ledger.balances(tenant.tenant_id, period)
            if not balances:
                return raised
            balance = combined([*balances.values()])
            used += balance.used
            for day, amount in days.items():
                by_day[day] += amount
            return raised + await self._forecast(tenant.tenant_id, balance.used, balance.limit, days)

        try:
            swept = await self._sweep("watch_spending", every_tenant(self._tenants), watch, tenant_name)
        except SweepFailed:  # all together will use at least this, and a gauge would show less
            await self._forecast("", used, self._platform, by_day, is_measured=False)
            raise
        if not swept.is_complete:  # the sum of some tenants says nothing about all
            return swept.done
        return swept.done + await self._forecast("", used, self._platform, by_day)

    async def _days(self, tenant_id: str) -> dict[date, Amount]:
        """Return the usage of each day of the current and the previous period."""
        current = BillingPeriod.containing(self._clock.now())
        tokens, pusd = Counter[date](), Counter[date]()
        for period in (current.previous(), current):
            for lane in await self._ledger.balances(tenant_id, str(period)):
                async for key, sums in self._rollups.rows(lane):
                    day = date.fromisoformat(key.day)
                    tokens[day] += sums.tokens
                    pusd[day] += sums.cost_pusd
        return {day: Amount(tokens[day], pusd[day]) for day in tokens}

    async def _forecast(
        self,
        tenant_id: str,
        used_up: Amount,
        limits: Limit,
        days: Mapping[date, Amount],
        *,
        is_measured: bool = True,
    ) -> int:
        """Compare forecasts with limits, and set their gauges if `is_measured`. Returns the number of new alerts."""
        now, raised = self._clock.now(), 0
        for measure in MEASURES:
            used, limit = measure.of(used_up), measure.limit(limits)
            by_day = {day: measure.of(amount) for day, amount in days.items()}
            expected = forecast(used, by_day, limit, now) if limit else None
            if expected is None or not limit:
                continue
            if is_measured:
                self._telemetry.set(QUOTA_FORECAST, expected.total / limit, tenant_id or PLATFORM, measure.name)
            if expected.exhausted_on is not None:
                amounts = {"used": used, "forecast": expected.total, LIMIT: limit}
                raised += await self._raise_once(_alert(tenant_id, now, measure, amounts, expected.exhausted_on))
        return raised

    async def _find_anomalies(self, tenant: Tenant, days: Mapping[date, Amount]) -> int:
        """Look at today and at yesterday, whose last entries may be rolled up after midnight."""
        now, raised = self._clock.now(), 0
        by_day = {day: amount.pusd for day, amount in days.items()}
        for day in (now.date() - timedelta(days=1), now.date()):
            most = unusual_from(by_day, day, tenant.created_at.date(), self._floor_pusd)
            spent = by_day.get(day, 0)
            if most is not None and spent > most:
                alert = Alert(
                    kind=AlertKind.SPEND_ANOMALY,
                    event_id=f"{tenant.tenant_id}:{day.isoformat()}:anomaly",
                    at=now,
                    subject=subject_of(tenant.tenant_id),
                    tenant_id=tenant.tenant_id,
                    data={"day": day.isoformat(), "spent_usd": usd(spent), "usual_at_most_usd": usd(most)},
                )
                raised += await self._raise_once(alert)
        return raised


def _alert(tenant_id: str, now: datetime, measure: Measure, amounts: Mapping[str, int], day: date) -> Alert:
    """Return the alert about a limit that is reached on a day of this period."""
    period = str(BillingPeriod.containing(now))
    shown = {name: measure.shown(amount) for name, amount in amounts.items()}
    return Alert(
        kind=AlertKind.FORECAST_EXCEEDS_LIMIT,
        event_id=f"{tenant_id or PLATFORM}:{period}:{measure.name}:forecast",
        at=now,
        subject=subject_of(tenant_id),
        tenant_id=tenant_id,
        data={"period": period, "unit": measure.name, **shown, "exhausted_on": day.isoformat()},
    )
