"""The timers that compare usage with limits, and keys with the calendar."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import pytest

from shared.adapters.documents.alerts import DocumentAlerts
from shared.adapters.documents.deliveries import DocumentDeliveries
from shared.adapters.documents.tenancy import DocumentKeys, DocumentTenants
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.alerts.forget_alerts import ForgetAlerts
from shared.application.alerts.measure_backlog import MeasureBacklog
from shared.application.alerts.raise_once import RaiseOnce
from shared.application.alerts.store_alert import StoreAlert
from shared.application.billing.watch_budgets import BudgetRules, WatchBudgets
from shared.application.billing.watch_spending import WatchSpending
from shared.application.ports.alerts import Backlog
from shared.application.sweep import Sweep, SweepFailed
from shared.application.tenancy.watch_expiry import WatchExpiry
from shared.domain.alerts.sink import AlertSink, SinkType
from shared.domain.errors import StorageUnavailable
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Balance, Lane
from shared.domain.ledger.rollup import Rollup, RollupKey
from shared.domain.telemetry.instruments import Instrument
from shared.domain.tenancy.keys import new_gateway_key
from shared.domain.tenancy.tenant import Tenant, TenantState
from tests.tools.alert_receivers import alert, event
from tests.tools.events import told
from tests.tools.ledgers import NOW, ManualClock, sweep_by

USD = 10**12


@dataclass(slots=True)
class Gauges:
    """Remembers the values of gauges."""

    values: dict[tuple[str, ...], float] = field(default_factory=dict)

    def set(self, instrument: Instrument, value: float, *values: str) -> None:
        self.values[instrument.name, *values] = round(value, 4)


@dataclass(slots=True)
class Books:
    """The balances and rollups of tenants, as a test states them."""

    used: dict[str, Amount] = field(default_factory=dict)
    limits: dict[str, Limit] = field(default_factory=dict)
    daily: dict[str, Mapping[date, Amount]] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)

    async def balances(self, tenant_id: str, period: str) -> dict[Lane, Balance]:
        if tenant_id in self.unreadable:
            raise StorageUnavailable
        if tenant_id not in self.used:
            return {}
        first, second = Lane(tenant_id, period), Lane(tenant_id, period, 1)
        half = Amount(self.used[tenant_id].tokens // 2, self.used[tenant_id].pusd // 2)
        vault = Balance(head="", limit=self.limits[tenant_id], used=half, reserved=Amount(10, 0))
        return {first: vault, second: Balance(head="", limit=Limit(0, 0), used=self.used[tenant_id] - half)}

    async def rows(self, lane: Lane) -> AsyncIterator[tuple[RollupKey, Rollup]]:
        for day, amount in self.daily.get(lane.tenant_id, {}).items():
            if lane.number == 0 and day.isoformat().startswith(lane.period):
                key = RollupKey(day=day.isoformat(), deployment="d", user="u", model="m")
                yield key, Rollup(tokens=amount.tokens, cost_pusd=amount.pusd)


@dataclass(slots=True)
class Watching:
    documents: InMemoryDocuments = field(default_factory=InMemoryDocuments)
    clock: ManualClock = field(default_factory=ManualClock)
    books: Any = field(default_factory=Books)
    gauges: Any = field(default_factory=Gauges)
    platform: Limit = field(default_factory=Limit)

    @property
    def outbox(self) -> DocumentAlerts:
        return DocumentAlerts(self.documents)

    @property
    def raise_once(self) -> RaiseOnce:
        return RaiseOnce(StoreAlert(self.outbox), self.outbox)

    def budgets(self, sweep: Sweep | None = None) -> WatchBudgets:
        tenants, rules = DocumentTenants(self.documents), BudgetRules(thresholds=(50, 80, 100), platform=self.platform)
        by = sweep or sweep_by(self.clock)
        return WatchBudgets(tenants, self.books, self.raise_once, self.gauges, self.clock, by, rules)

    def spending(self, sweep: Sweep | None = None) -> WatchSpending:
        tenants, by = DocumentTenants(self.documents), sweep or sweep_by(self.clock)
        return WatchSpending(
            tenants, self.books, self.books, self.raise_once, self.gauges, self.clock, by, 10 * USD, self.platform
        )

    def expiry(self) -> WatchExpiry:
        tenants, keys = DocumentTenants(self.documents), DocumentKeys(self.documents)
        return WatchExpiry(tenants, keys, self.raise_once, self.clock, sweep_by(self.clock))

    async def tenant(self, name: str, used: Amount | None, limit: Limit, **fields: Any) -> None:
        tenant = Tenant(tenant_id=name, name=name, created_at=NOW - timedelta(days=300), **fields)
        await DocumentTenants(self.documents).insert(tenant, told(after=tenant))
        self.use(name, used, limit)

    def use(self, name: str, used: Amount | None, limit: Limit) -> None:
        if used is not None:
            self.books.used[name], self.books.limits[name] = used, limit

    async def raised(self) -> dict[str, dict[str, Any]]:
        """Hand all new events to no sink, and return them by id."""
        events, _ = await self.outbox.raised(1000)
        for each in events:
            await self.outbox.fan_out(each, [], self.clock.now())
        return {each.event_id: {"kind": each.kind, "severity": each.severity.value, **each.data} for each in events}


async def test_a_threshold_is_told_once_in_a_period_and_again_if_the_limit_was_raised() -> None:
    watching = Watching()
    await watching.tenant("acme", Amount(0, 82 * USD), Limit(None, 100 * USD))
    assert await watching.budgets()() == 1
    assert await watching.raised() == {
        "acme:2026-11:usd:80": {
            "kind": "budget.threshold",
            "severity": "warning",
            "period": "2026-11",
            "unit": "usd",
            "threshold_percent": "80",
            "used": "82.00",
            "limit": "100.00",
        }
    }
    same = watching.budgets()
    for _ in range(2):
        assert await same() == 0
    watching.use("acme", Amount(0, 100 * USD), Limit(None, 100 * USD))
    assert await watching.budgets()() == 1
    assert (await watching.raised())["acme:2026-11:usd:100"]["severity"] == "error"
    watching.use("acme", Amount(0, 170 * USD), Limit(None, 200 * USD))
    assert await watching.budgets()() == 1
    assert [*await watching.raised()] == ["acme:2026-11:usd:80:above:100.00"]
    watching.use("acme", Amount(0, 81 * USD), Limit(None, 99 * USD))  # a lower limit is no news
    assert await watching.budgets()() == 0
    watching.clock.moment += timedelta(days=30)
    assert await watching.budgets()() == 1
    assert [*await watching.raised()] == ["acme:2026-12:usd:80"]


async def test_a_limit_of_0_is_told_to_whom_has_used_something() -> None:
    watching = Watching()
    await watching.tenant("stopped", Amount(30, 2 * USD), Limit(0, 0))
    await watching.tenant("closed-to-all", Amount(0, 0), Limit(0, 0))
    assert await watching.budgets()() == 2
    raised = await watching.raised()
    assert {name: (each["severity"], each["limit"]) for name, each in raised.items()} == {
        "stopped:2026-11:tokens:100": ("error", "0"),
        "stopped:2026-11:usd:100": ("error", "0.00"),
    }
    assert await watching.budgets()() == 0
    watching.use("stopped", Amount(30, 2 * USD), Limit(30, 0))
    assert await watching.budgets()() == 1
    assert [*await watching.raised()] == ["stopped:2026-11:tokens:100:above:0"]
    assert ("gateway.quota.utilization", "stopped", "usd") not in watching.gauges.values


async def test_tenants_choose_their_thresholds_and_each_has_its_gauge() -> None:
    watching = Watching()
    await watching.tenant("early", Amount(30, 0), Limit(100, None), alert_thresholds=(25,))
    await watching.tenant("never", Amount(100, 0), Limit(100, None), alert_thresholds=())
    await watching.tenant("unlimited", Amount(100, 9 * USD), Limit())
    await watching.tenant("closed-to-all", Amount(0, 0), Limit(0, 0))
    await watching.tenant("unused", None, Limit())
    assert await watching.budgets()() == 1
    raised = await watching.raised()
    assert [(name, each["severity"]) for name, each in raised.items()] == [("early:2026-11:tokens:25", "info")]
    assert watching.gauges.values == {
        ("gateway.quota.utilization", "early", "tokens"): 0.4,
        ("gateway.quota.utilization", "never", "tokens"): 1.1,
    }


async def test_all_tenants_together_have_limits_that_only_alerts_know() -> None:
    watching = Watching(platform=Limit(1000, 10 * USD))
    for name in ("a", "b"):
        await watching.tenant(name, Amount(300, 4 * USD), Limit())
    assert await watching.budgets()() == 2
    assert {*await watching.raised()} == {"_platform:2026-11:tokens:50", "_platform:2026-11:usd:80"}
    assert watching.gauges.values["gateway.quota.utilization", "_platform", "usd"] >= 0.8
    assert len(await watching.outbox.of_owner("")) == 2


async def test_a_part_of_the_tenants_says_nothing_about_all() -> None:
    watching = Watching(platform=Limit(1, None))
    await watching.tenant("a", Amount(300, 0), Limit(300, None))
    watching.books.daily["a"] = steady(10)
    for watch in (watching.budgets, watching.spending):
        assert await watch(sweep_by(watching.clock, 0))() == 0
    assert await watching.raised() == {}
    assert not any("_platform" in each for each in watching.gauges.values)


async def test_a_tenant_whose_books_cannot_be_read_does_not_hide_what_all_others_have_used() -> None:
    watching = Watching(platform=Limit(1000, None))
    for name in ("a", "b", "c"):
        await watching.tenant(name, Amount(300, 0), Limit())
    watching.books.unreadable.add("b")
    for _ in range(2):
        with pytest.raises(SweepFailed, match="b: StorageUnavailable"):
            await watching.budgets()()
    for name in ("a", "b", "c"):
        watching.books.daily[name] = steady(10)
    with pytest.raises(SweepFailed, match="b: StorageUnavailable"):
        await watching.spending()()
    assert {*await watching.raised()} == {"_platform:2026-11:tokens:50", "_platform:2026-11:tokens:forecast"}
    assert not any("_platform" in each for each in watching.gauges.values)


def steady(usd: int) -> dict[date, Amount]:
    return {NOW.date() - timedelta(days=each): Amount(1000, usd * USD) for each in range(40)}


async def test_a_limit_that_will_not_last_is_told_with_its_day() -> None:
    watching = Watching()
    await watching.tenant("acme", Amount(21_500, 215 * USD), Limit(22_000, 250 * USD))
    await watching.tenant("sound", Amount(21_500, 215 * USD), Limit(10**6, None))
    await watching.tenant("unused", None, Limit())
    for name in ("acme", "sound"):
        watching.books.daily[name] = steady(10)
    assert await watching.spending()() == 2
    raised = await watching.raised()
    assert raised["acme:2026-11:usd:forecast"] == {
        "kind": "forecast.exceeds_limit",
        "severity": "warning",
        "period": "2026-11",
        "unit": "usd",
        "used": "215.00",
        "forecast": "306.538461538461",
        "exhausted_on": "2026-11-25",
        "limit": "250.00",
    }
    assert {*raised} == {"acme:2026-11:usd:forecast", "acme:2026-11:tokens:forecast"}
    assert watching.gauges.values["gateway.quota.forecast", "acme", "usd"] == 1.2262
    assert ("gateway.quota.forecast", "sound", "usd") not in watching.gauges.values
    assert await watching.spending()() == 0


async def test_limits_of_all_tenants_together_that_will_not_last_are_told_to_the_platform() -> None:
    watching = Watching(platform=Limit(None, 500 * USD))
    for name in ("acme", "beta"):
        await watching.tenant(name, Amount(21_500, 215 * USD), Limit())
        watching.books.daily[name] = steady(10)
    await watching.tenant("unused", None, Limit())
    assert await watching.spending()() == 1
    assert await watching.raised() == {
        "_platform:2026-11:usd:forecast": {
            "kind": "forecast.exceeds_limit",
            "severity": "warning",
            "period": "2026-11",
            "unit": "usd",
            "used": "430.00",
            "forecast": "613.076923076923",
            "exhausted_on": "2026-11-25",
            "limit": "500.00",
        }
    }
    assert [each.subject for each in await watching.outbox.of_owner("")] == ["platform"]
    assert watching.gauges.values == {("gateway.quota.forecast", "_platform", "usd"): 1.2262}
    assert await watching.spending()() == 0


async def test_a_day_that_costs_far_more_than_usual_is_told() -> None:
    watching = Watching()
    await watching.tenant("acme", Amount(1, 1), Limit())
    watching.books.daily["acme"] = steady(20) | {NOW.date(): Amount(1, 25 * USD)}
    assert await watching.spending()() == 1
    assert await watching.raised() == {
        "acme:2026-11-22:anomaly": {
            "kind": "spend.anomaly",
            "severity": "warning",
            "day": "2026-11-22",
            "spent_usd": "25.00",
            "usual_at_most_usd": "20.00",
        }
    }
    assert await watching.spending()() == 0


@pytest.mark.parametrize(
    ("days_left", "lived", "told_days"), [(31, 90, None), (29, 90, "30"), (6, 90, "7"), (0.5, 90, "1"), (6, 1, None)]
)
async def test_a_key_that_expires_soon_is_told_by_the_nearest_of_three_days(
    days_left: float, lived: float, told_days: str | None
) -> None:
    watching = Watching()
    await watching.tenant("acme", None, Limit())
    key, _ = new_gateway_key("acme", NOW - timedelta(days=lived), NOW + timedelta(days=days_left))
    await DocumentKeys(watching.documents).insert(replace(key, owner="ann"), told())
    for _ in range(2):
        await watching.expiry()()
    raised = await watching.raised()
    assert [each["days"] for each in raised.values()] == ([told_days] if told_days else [])
    assert all((each["kind"], each["owner"]) == ("key.expires_soon", "ann") for each in raised.values())


async def test_nobody_is_told_of_keys_that_ended_or_have_a_successor_or_of_closed_tenants() -> None:
    watching = Watching()
    await watching.tenant("acme", None, Limit())
    await watching.tenant("gone", None, Limit(), state=TenantState.CLOSED)
    keys = [
        new_gateway_key(tenant, NOW - timedelta(days=99), NOW + timedelta(days=5))[0]
        for tenant in ("acme", "acme", "acme", "acme", "gone")
    ]
    keys[0], keys[1] = replace(keys[0], replaced_by="acme-1"), replace(keys[1], revoked_at=NOW)
    keys[2], keys[3] = replace(keys[2], expires_at=NOW - timedelta(days=1)), replace(keys[3], expires_at=None)
    for key in keys:
        await DocumentKeys(watching.documents).insert(key, told())
    assert await watching.expiry()() == 0


async def test_alerts_are_forgotten_after_their_days() -> None:
    watching = Watching()
    deliveries = DocumentDeliveries(watching.documents)
    forget = ForgetAlerts(watching.outbox, deliveries, watching.clock, 400)
    await watching.outbox.fan_out(event(), [], NOW)
    assert await forget() == 0
    watching.clock.moment += timedelta(days=401)
    assert await forget() == 1


async def test_what_is_remembered_is_bounded() -> None:
    watching = Watching()
    raise_once = RaiseOnce(StoreAlert(watching.outbox), watching.outbox, most_known=1)
    alerts = [alert(name) for name in ("a", "b", "c")]
    assert [await raise_once(each) for each in alerts] == [True, True, True]
    assert [await raise_once(each) for each in alerts] == [False, False, False]


async def test_the_backlog_is_measured_by_sink_and_for_all_tenants_together() -> None:
    watching = Watching()
    deliveries, sinks = DocumentDeliveries(watching.documents), []
    for tenant, name in (("", "ops"), ("a", "x"), ("b", "y")):
        sinks.append(AlertSink(name=name, tenant_id=tenant, type=SinkType.SLACK))
        await deliveries.add(sinks[-1].sink_id, event(), NOW)

    async def configured() -> list[AlertSink]:
        return sinks

    measure = MeasureBacklog(configured, deliveries, watching.gauges)
    for tenant, name in (("a", "x"), ("b", "y")):
        await watching.documents.insert("alerts", f"~sink|{tenant}|{name}", "a-foreign-row", "nonsense")
    assert await measure() == {"ops": Backlog(1, 0), "tenants": Backlog(2, 0, 2)}
    assert await measure.publish() == 0
    assert watching.gauges.values["gateway.outbox.backlog", "tenants", "waiting"] == 2
    assert watching.gauges.values["gateway.outbox.backlog", "tenants", "damaged"] == 2
