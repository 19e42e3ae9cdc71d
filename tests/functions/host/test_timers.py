"""The timer functions, started by hand through the host, over Azurite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from azure.functions.timer import TimerRequest

from shared import timers
from shared.domain.identifiers import BillingPeriod, new_rid
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account, Lane, LaneState
from shared.domain.ledger.operations import TransferOut
from shared.domain.telemetry.events import TENANT_DESCRIBED as DESCRIBED
from tests.functions.audit.test_audit_log import documents_of
from tests.tools.ledgers import charge, reservation
from tests.tools.stack import AzuriteAccount, Stack, eventually, indexed_functions, running_azurite


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteAccount]:
    """An Azurite for this module alone, because timers read every tenant that there is."""
    with running_azurite(tmp_path_factory.mktemp("azurite")) as account:
        yield account


async def test_each_timer_function_runs_the_timer_of_its_name(stack: Stack) -> None:
    _, functions = indexed_functions()
    for function in functions:
        await function.handler(**{function.parameter: TimerRequest(past_due=True, schedule_status={})})
    found = (await stack.manage("GET", "/manage/status"))["timers"]
    assert {each["timer"] for each in found} == {function.name for function in functions}
    assert all(each["succeeded_at"] and not each["error"] for each in found)


async def start(stack: Stack, name: str) -> int:
    async with stack.session.post(f"{stack.url}/admin/functions/{name}", json={}) as response:
        return response.status


async def test_the_monthly_reset_opens_the_period_for_every_tenant(stack_on_tables: Stack) -> None:
    stack = stack_on_tables
    gateway = await stack.gateway()
    period = str(BillingPeriod.containing(gateway.clock.now()))
    assert await gateway.ledger.books.balance(Lane(stack.tenant, period)) is None
    await timers.reset_monthly_quotas(past_due=True)
    assert await gateway.ledger.books.balance(Lane(stack.tenant, period)) is not None
    assert await start(stack, "RESET_monthly_quotas") == 202
    assert await start(stack, "expire_reservations") == 202
    assert await start(stack, "no_such_function") == 404


async def test_the_timer_describes_each_tenant_for_dashboards(
    stack_on_tables: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack = stack_on_tables
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"cost_center": "CC-7"})
    with caplog.at_level("INFO", logger="tallygate"):
        await timers.describe_tenants(past_due=False)
    lines = [record.__dict__ for record in caplog.records if record.__dict__.get("event.name") == DESCRIBED.name]
    described = {line["gateway.tenant"]: line["gateway.cost_center"] for line in lines}
    assert described[stack.tenant] == "CC-7"
    assert all(set(DESCRIBED.fields) <= line.keys() for line in lines)


async def test_the_timer_expires_reservations_past_their_deadline(
    stack_on_tables: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack = stack_on_tables
    ledger = (await stack.gateway()).ledger.books
    period = str(BillingPeriod.containing((await stack.gateway()).clock.now()))
    prices = (await stack.manage("GET", "/manage/prices"))["data"]
    version = ".".join(
        next(p["price_id"] for p in prices if (p["model"], p["meter"]) == ("gpt-4o", meter))
        for meter in ("input", "output")
    )
    held = reservation(stack.tenant, minutes=-(10**6), period=period)
    held = _priced(held, version)
    await ledger.reserve(Account(tenant_id=stack.tenant, period=period, limit=Limit()), held)
    await timers.expire_reservations(past_due=False)
    (entry,) = await stack.entries()
    assert (entry["kind"], entry["tokens"]) == ("expire", held.input_tokens)
    assert '"gateway.timer.count.reservations_expired": 1' in caplog.text
    await timers.expire_reservations(past_due=False)


async def test_usage_is_rolled_up(stack_on_tables: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    stack = stack_on_tables
    await stack.chat()
    before = await stack.usage()
    assert await start(stack, "roll_up_usage") == 202
    await eventually(lambda: "entries_rolled_up" in caplog.text)
    await timers.roll_up_usage(past_due=True)
    assert '"gateway.timer.count.entries_rolled_up": 0' in caplog.text
    assert await stack.usage() == before


async def test_audit_events_are_chained(stack_on_tables: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    stack = stack_on_tables
    gateway = await stack.gateway()
    await (await documents_of(stack)).insert("credentials", "old", "k", "{}")
    assert await start(stack, "chain_audit") == 202
    await eventually(lambda: '"gateway.timer.count.documents_recorded": 1' in caplog.text)
    await timers.chain_audit(past_due=True)
    assert '"gateway.timer.count.events_chained": 0' in caplog.text
    verified = await gateway.audit.verify(str(BillingPeriod.containing(gateway.clock.now())))
    assert (verified.findings, verified.events > 0) == ((), True)


async def test_the_timer_completes_interrupted_transfers(
    stack_on_tables: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack = stack_on_tables
    ledger: Any = (await stack.gateway()).ledger.books
    path = f"/manage/tenants/{stack.tenant}"
    await stack.manage("PATCH", path, {"lanes": 2, "monthly_quota_tokens": 10_000})
    await stack.chat()
    period = str(BillingPeriod.containing((await stack.gateway()).clock.now()))
    vault = ledger.committer(Lane(stack.tenant, period))
    await vault.submit(TransferOut(new_rid(), 1, Amount(7)))
    assert await start(stack, "level_lanes") == 202
    await eventually(lambda: '"gateway.timer.count.transfers_completed": 1' in caplog.text)
    await timers.level_lanes(past_due=True)
    moves = [entry for entry in (await stack.manage("GET", f"{path}/entries"))["data"] if "moved_tokens" in entry]
    assert sum(entry["moved_tokens"] for entry in moves) == 0


async def test_a_limit_in_the_books_that_is_not_the_documents_is_corrected(stack: Stack, caplog: Any) -> None:
    gateway = await stack.gateway()
    period = str(BillingPeriod.containing(gateway.clock.now()))
    await gateway.ledger.books.open(Account(tenant_id=stack.tenant, period=period, limit=Limit(5)))
    assert await start(stack, "reconcile_limits") == 202
    await eventually(lambda: '"gateway.timer.count.limits_corrected": 1' in caplog.text)
    balance = await gateway.ledger.books.balance(Lane(stack.tenant, period))
    assert balance is not None
    assert balance.limit == Limit()


@pytest.mark.parametrize("stack_settings", [{"CLOSE_GRACE_HOURS": "0"}], indirect=True)
async def test_chargeback_is_exported_and_a_rerun_changes_nothing(stack: Stack, caplog: Any) -> None:
    caplog.set_level("INFO")
    gateway = await stack.gateway()
    previous = BillingPeriod.containing(gateway.clock.now()).previous()
    prices = (await stack.manage("GET", "/manage/prices"))["data"]
    version = ".".join(
        next(p["price_id"] for p in prices if (p["model"], p["meter"]) == ("gpt-4o", meter))
        for meter in ("input", "output")
    )
    held = _priced(reservation(stack.tenant, period=str(previous)), version)
    await gateway.ledger.books.reserve(Account(tenant_id=stack.tenant, period=str(previous), limit=Limit()), held)
    await gateway.ledger.books.settle(held, charge())
    for _ in range(2):
        assert await start(stack, "export_chargeback") == 202
    await eventually(lambda: "gateway.period.exported" in caplog.text)
    await timers.export_chargeback(past_due=False)
    assert len([each for each in caplog.records if "gateway.period.exported" in each.message]) == 1
    reports: Any = gateway.billing.export_chargeback._build._reports
    statements = json.loads(await reports.read(f"{previous}/statements.json"))
    assert [tenant["tokens_used"] for tenant in statements["tenants"]] == [17]
    assert await gateway.billing.verify_statements(str(previous)) == []


@pytest.mark.parametrize("stack_settings", [{"CLOSE_GRACE_HOURS": "100000"}], indirect=True)
async def test_nothing_is_exported_within_the_grace_period(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    previous = str(BillingPeriod.containing((await stack.gateway()).clock.now()).previous())
    books = (await stack.gateway()).ledger.books
    await books.open(Account(tenant_id=stack.tenant, period=previous, limit=Limit()))
    await timers.export_chargeback(past_due=False)
    assert '"gateway.timer.count.periods": 0' in caplog.text
    assert (await books.balances(stack.tenant, previous))[Lane(stack.tenant, previous)].state is LaneState.OPEN


def _priced(held: Any, version: str) -> Any:
    return replace(held, attempt=replace(held.attempt, price_version=version))
