"""Raise alerts when tenants, or all of them together, reach thresholds of their quotas and budgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from shared.application.alerts.raise_once import LIMIT, RaiseOnce
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.ports.telemetry import Telemetry
from shared.application.ports.tenancy import TenantDirectory
from shared.application.sweep import Sweep, SweepFailed
from shared.application.tenancy.every_tenant import every_tenant, tenant_name
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.alerts.severity import AlertSeverity
from shared.domain.alerts.spending import highest_crossed
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import NOTHING, Amount, Limit
from shared.domain.ledger.lanes import combined
from shared.domain.pricing.money import usd
from shared.domain.telemetry.instruments import QUOTA_UTILIZATION
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import record, value

PLATFORM: Final = "_platform"
"""The name of all tenants together in ids of alerts and in gauges. No tenant can have it."""


@value
class Measure:
    """One of the two units of a limit."""

    name: str
    kind: AlertKind

    def of(self, amount: Amount) -> int:
        """Return an amount in this unit."""
        return amount.tokens if self.name == "tokens" else amount.pusd

    def limit(self, limit: Limit) -> int | None:
        """Return a limit in this unit."""
        return limit.tokens if self.name == "tokens" else limit.pusd

    def shown(self, amount: int) -> str:
        """Write an amount as people read it: tokens, or dollars as a decimal."""
        return str(amount) if self.name == "tokens" else usd(amount)


MEASURES: Final = (Measure("tokens", AlertKind.QUOTA_THRESHOLD), Measure("usd", AlertKind.BUDGET_THRESHOLD))


@record
class BudgetRules:
    """The thresholds of tenants that state none, and the limits of all tenants together."""

    thresholds: Sequence[int]
    platform: Limit

    def of(self, tenant: Tenant) -> Sequence[int]:
        """Return the thresholds of a tenant, in percent."""
        return self.thresholds if tenant.alert_thresholds is None else tenant.alert_thresholds


class WatchBudgets:
    """The use case of the timer `watch_budgets`. Running late, twice or never is harmless."""

    def __init__(
        self,
        tenants: TenantDirectory,
        ledger: Ledger,
        raise_once: RaiseOnce,
        telemetry: Telemetry,
        clock: Clock,
        sweep: Sweep,
        rules: BudgetRules,
    ) -> None:
        self._tenants = tenants
        self._ledger = ledger
        self._raise_once = raise_once
        self._telemetry = telemetry
        self._clock = clock
        self._sweep = sweep
        self._rules = rules

    async def __call__(self) -> int:
        """Compare the current period of every tenant with its limits. Returns the number of new alerts.

        Tenants that fail are left for the next run. Raises `SweepFailed` once all others are done: what these have used
        is compared with the limits of all, too, so that one damaged tenant keeps no alert back.
        """
        period = str(BillingPeriod.containing(self._clock.now()))
        used = held = NOTHING

        async def watch(tenant: Tenant) -> int:
            nonlocal used, held
            balances = await self._ledger.balances(tenant.tenant_id, period)
            if not balances:
                return 0
            balance = combined([*balances.values()])
            used += balance.used
            held += balance.reserved
            self._measure(tenant.tenant_id, balance.limit, balance.used + balance.reserved)
            return await self._compare(tenant.tenant_id, period, balance.used, balance.limit, self._rules.of(tenant))

        try:
            swept = await self._sweep("watch_budgets", every_tenant(self._tenants), watch, tenant_name)
        except SweepFailed:  # all together have used at least this
            await self._compare("", period, used, self._rules.platform, self._rules.thresholds)
            raise
        if not swept.is_complete:  # the sum of some tenants says nothing about all
            return swept.done
        self._measure(PLATFORM, self._rules.platform, used + held)
        return swept.done + await self._compare("", period, used, self._rules.platform, self._rules.thresholds)

    def _measure(self, tenant_id: str, limit: Limit, used: Amount) -> None:
        for measure in MEASURES:
            if stated := measure.limit(limit):
                self._telemetry.set(QUOTA_UTILIZATION, measure.of(used) / stated, tenant_id, measure.name)

    async def _compare(self, tenant_id: str, period: str, used: Amount, limit: Limit, thresholds: Sequence[int]) -> int:
        alerts = self._alerts(tenant_id, period, used, limit, thresholds)
        return sum([await self._raise_once(alert) for alert in alerts])

    def _alerts(
        self, tenant_id: str, period: str, used: Amount, limit: Limit, thresholds: Sequence[int]
    ) -> Iterator[Alert]:
        for measure in MEASURES:
            reached, stated = measure.of(used), measure.limit(limit)
            crossed = highest_crossed(reached, stated, thresholds)
            if crossed is not None and stated is not None:
                yield Alert(
                    kind=measure.kind,
                    event_id=f"{tenant_id or PLATFORM}:{period}:{measure.name}:{crossed}",
                    at=self._clock.now(),
                    subject=subject_of(tenant_id),
                    tenant_id=tenant_id,
                    stated_severity=_severity(crossed),
                    data={
                        "period": period,
                        "unit": measure.name,
                        "threshold_percent": str(crossed),
                        "used": measure.shown(reached),
                        LIMIT: measure.shown(stated),
                    },
                )


def subject_of(tenant_id: str) -> str:
    """Return the subject of an alert about a tenant, or about the platform."""
    return f"tenants/{tenant_id}" if tenant_id else "platform"


def _severity(crossed: int) -> AlertSeverity:
    if crossed >= 100:
        return AlertSeverity.ERROR
    return AlertSeverity.WARNING if crossed >= 80 else AlertSeverity.INFO
