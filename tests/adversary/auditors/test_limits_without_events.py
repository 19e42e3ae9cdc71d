"""Somebody raises limits past the management API: no event tells it, and verification does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.documents.codec import to_json
from shared.adapters.documents.store import OutboxRow
from shared.application.audit.record_audit import Actor
from shared.application.ledger.audited_limits import AuditedLimits, LimitsCompared
from shared.application.sweep import SweepFailed
from shared.cli.__main__ import run
from shared.composition.gateway import Gateway, build
from shared.domain.audit.audit_period import AuditPeriod
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account
from shared.domain.tenancy.grant import RequestedGrant
from shared.domain.tenancy.tenant import Tenant
from shared.settings import read_settings
from tests.tools.events import told
from tests.tools.finished_month import PERIOD, START, MonthClock, environment, export_evidence
from tests.tools.ledgers import NOW

ANN = Actor(name="ann")
Captured = pytest.CaptureFixture[str]
Act = Callable[[Gateway], Awaitable[None]]


async def registered(gateway: Gateway, name: str = "acme") -> Account:
    tenant = Tenant(tenant_id=name, name="A", created_at=START, monthly_quota_tokens=1000, monthly_budget_usd="5")
    await gateway.tenancy.tenants.register(tenant, ANN)
    return Account(tenant_id=name, period=PERIOD, limit=tenant.limit)


async def change_rightly(gateway: Gateway) -> None:
    """Change limits and grant amounts, up and down and past each other, as administrators do."""
    tenants = gateway.tenancy.tenants
    await registered(gateway)
    await tenants.grant("acme", Amount(5, 7), ANN, reason="r", grant_id="g")
    for quota in (2000, None, 300):

        def change(current: Tenant, quota: int | None = quota) -> Tenant:
            return replace(current, monthly_quota_tokens=quota)

        await tenants.change("acme", change, (), ANN)
        if quota is not None:
            await tenants.grant("acme", Amount(quota), ANN, reason="r", grant_id=f"g{quota}")
    await tenants.grant("acme", Amount(1), ANN, reason="ahead", period="2026-11", grant_id="g")


async def compared(gateway: Gateway, period: str = PERIOD, only: str | None = None) -> LimitsCompared:
    gateway.ledger.verify.booked_limits.clear()
    async for _, findings in gateway.ledger.verify(period):
        assert findings == []
    return await gateway.ledger.verify_limits(gateway.ledger.verify.booked_limits, period, only)


def within(act: Callable[[Gateway, MonthClock], Awaitable[None]]) -> None:
    """Let a test act in a gateway over memory."""

    async def run_in_gateway() -> None:
        clock = MonthClock()
        gateway = await build(read_settings(), clock)
        try:
            await act(gateway, clock)
        finally:
            await gateway.aclose()

    with environment():
        asyncio.run(run_in_gateway())


def test_what_administrators_do_is_told_by_events_waiting_or_chained() -> None:
    async def act(gateway: Gateway, _: MonthClock) -> None:
        await change_rightly(gateway)
        tenants: Any = gateway.tenancy.tenants
        await tenants._tenants._documents.append("audit", "outbox", OutboxRow("1" * 32, "{"))
        for _round in range(2):
            for period in (PERIOD, "2026-11"):
                found = await compared(gateway, period)
                assert (found.findings, found.unproven, found.notes) == ([], 0, [])
            with pytest.raises(SweepFailed, match="holds no event"):
                await gateway.audit.chain_events()
        assert len(gateway.ledger.verify.booked_limits) > 0

    within(act)


async def grant_in_the_books(gateway: Gateway) -> None:
    account = await registered(gateway)
    await gateway.ledger.books.grant(account, "gift", Amount(7), "eve", "for friends")


async def grant_more_than_was_told(gateway: Gateway) -> None:
    account = await registered(gateway)
    await gateway.tenancy.tenants.grant("acme", Amount(7), ANN, reason="r", period="2026-11", grant_id="gift")
    await gateway.ledger.books.grant(account, "gift", Amount(8), "eve", "for friends")


async def change_the_limit_in_the_books(gateway: Gateway) -> None:
    account = await registered(gateway)
    await gateway.ledger.books.open(account)
    await gateway.ledger.books.change_limit(replace(account, limit=Limit(9999, account.limit.pusd)), "eve", "more")


async def grant_by_a_forged_request(gateway: Gateway) -> None:
    await registered(gateway)
    requests: Any = gateway.tenancy.finish_grants
    forged = RequestedGrant(
        tenant_id="acme", period=PERIOD, grant_id="gift", tokens=7, pusd=0, actor="ann", reason="", requested_at=NOW
    )
    documents = requests._requests._documents
    added = await requests._requests.add(forged, told())
    (event,) = [each for each in await documents.pending("grants", 9) if each.partition == "acme"]
    await documents.withdraw(event)
    assert added.value == forged
    assert await gateway.tenancy.finish_grants() == 1


GIFT = "entry 1 grants 'gift', and no event tells it"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (grant_in_the_books, GIFT),
        (grant_more_than_was_told, GIFT),
        (grant_by_a_forged_request, GIFT),
        (change_the_limit_in_the_books, "entry 1 sets a limit that no event of the tenant's document tells"),
    ],
)
def test_a_limit_that_no_event_tells_is_found(act: Act, message: str, tmp_path: Path, capsys: Captured) -> None:
    package = tmp_path / "evidence.zip"

    async def in_gateway(gateway: Gateway, clock: MonthClock) -> None:
        await act(gateway)
        (finding,) = (await compared(gateway)).findings
        assert (finding.invariant, finding.tenant_id, finding.message) == ("I21", "acme", message)
        assert (finding.table, finding.partition, finding.row) == ("ledger202610", "acme|00", "E|0000000000000001")
        clock.later(minutes=1)
        await gateway.audit.chain_events()
        await export_evidence(gateway, package, None)

    within(in_gateway)
    assert run(["verify", "--archive", str(package), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [(each["invariant"], each["message"]) for each in document["findings"]] == [("I21", message)]


def test_an_opening_under_a_limit_that_no_event_tells_is_found() -> None:
    async def act(gateway: Gateway, _: MonthClock) -> None:
        account = replace(await registered(gateway), period="2026-11")
        await gateway.ledger.books.open(replace(account, limit=Limit(10**9)))
        (finding,) = (await compared(gateway, "2026-11")).findings
        assert finding.message.startswith("the opening of the period sets a limit that no event")
        assert (finding.row, finding.property_name) == ("B", "limit0_tokens")

    within(act)


def test_a_grant_that_was_only_asked_for_is_told_and_violates_nothing(tmp_path: Path, capsys: Captured) -> None:
    package = tmp_path / "evidence.zip"
    note = "acme: the grant 'g' was only asked for: an event tells it, and no entry"

    async def act(gateway: Gateway, clock: MonthClock) -> None:
        account = await registered(gateway)
        await registered(gateway, "bolt")
        finish: Any = gateway.tenancy.finish_grants
        asked = RequestedGrant(
            tenant_id="acme", period=PERIOD, grant_id="g", tokens=7, pusd=0, actor="ann", reason="r", requested_at=START
        )
        event = finish._grant._event(ANN, "tenant.grant", asked, "r")
        added = await finish._requests.add(asked, event)
        await gateway.ledger.books.open(account)
        found = await compared(gateway)
        assert (found.findings, found.notes) == ([], [note])
        assert (await compared(gateway, only="bolt")).notes == []
        assert (await compared(gateway, "2026-11")).notes == []
        await gateway.audit.chain_events()
        await export_evidence(gateway, package, None)
        await finish._requests.refuse(added, finish._grant._event(ANN, "tenant.grant.refuse", asked, "no"))
        assert (await compared(gateway)).notes == []

    within(act)
    assert run(["verify", "--archive", str(package), "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert (document["notes"], document["findings"]) == ([note], [])


def test_nobody_can_say_for_entries_that_are_older_than_the_events() -> None:
    async def act(gateway: Gateway, clock: MonthClock) -> None:
        tenants: Any = gateway.tenancy.tenants
        tenant = Tenant(tenant_id="acme", name="A", created_at=START, monthly_quota_tokens=1000)
        documents = tenants._tenants._documents
        await documents.insert("tenants", "acme", "tenant", to_json(tenant))
        account = Account(tenant_id="acme", period=PERIOD, limit=tenant.limit)
        await gateway.ledger.books.grant(account, "g", Amount(7), "ann", "r")
        clock.later(hours=2)
        await gateway.audit.record_baseline()
        clock.later(minutes=30)
        await gateway.ledger.books.grant(account, "h", Amount(7), "ann", "an earlier version beside this one")
        await gateway.ledger.books.change_limit(replace(account, limit=Limit(5)), "ann", "r")
        found = await compared(gateway)
        assert (found.findings, found.unproven) == ([], 4)
        assert [each.reason.partition(":")[0] for each in found.not_checked()] == ["4 limits"]
        clock.later(hours=1)
        await gateway.ledger.books.grant(account, "i", Amount(7), "eve", "r")
        assert len((await compared(gateway)).findings) == 1

    within(act)


def test_nobody_can_say_once_retention_has_deleted_events() -> None:
    async def act(gateway: Gateway, clock: MonthClock) -> None:
        await grant_in_the_books(gateway)
        await gateway.audit.chain_events()
        assert len((await compared(gateway)).findings) == 1
        periods: Any = gateway.audit.periods
        deleted = AuditPeriod(period=PERIOD, deleted_seq=1, deleted_head="0" * 64)
        await periods._periods.replace(deleted, ANN.event(clock.now() + timedelta(1), "audit.expire", PERIOD))
        found = await compared(gateway)
        assert (found.findings, found.unproven) == ([], 1)

    within(act)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"at":1}',
        '{"at":"x","action":"tenant.grant","place":"","target":"a","after":{"period":1}}',
        '{"at":"x","action":"baseline","place":"tenants/a/tenant","before":null,"after":null}',
        '{"at":"x","action":"t","place":"tenants/a/t","before":null,"after":{"monthly_budget_usd":"x"}}',
    ],
)
def test_events_that_cannot_be_read_stop_nothing(text: str) -> None:
    limits = AuditedLimits()
    limits.add(text)
    assert limits.compare([], PERIOD).findings == []
