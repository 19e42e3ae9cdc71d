"""The timer functions, started by hand through the host, over Azurite."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared import timers
from shared.adapters.tables.store import Merge
from shared.application.ledger.verify_ledger import INVARIANTS, Finding
from shared.cli.__main__ import run
from shared.cli.verify import Verification, _print_text
from shared.domain.identifiers import BillingPeriod, new_rid
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account, Lane
from shared.domain.ledger.operations import TransferOut
from tests.tools.ledgers import charge, reservation
from tests.tools.stack import AzuriteAccount, Stack, eventually, running_azurite


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteAccount]:
    """One of their own: timers and verification read every tenant that there is."""
    with running_azurite(tmp_path_factory.mktemp("azurite")) as account:
        yield account


async def start(stack: Stack, name: str) -> int:
    async with stack.session.post(f"{stack.url}/admin/functions/{name}", json={}) as response:
        return response.status


async def test_reset_opens_the_period_for_every_tenant(stack_on_tables: Stack) -> None:
    stack = stack_on_tables
    gateway = await stack.gateway()
    period = str(BillingPeriod.containing(gateway.clock.now()))
    assert await gateway.ledger.books.balance(Lane(stack.tenant, period)) is None
    await timers.reset_monthly_quotas(past_due=True)
    assert await gateway.ledger.books.balance(Lane(stack.tenant, period)) is not None
    assert await start(stack, "RESET_monthly_quotas") == 202
    assert await start(stack, "expire_reservations") == 202
    assert await start(stack, "no_such_function") == 404


async def test_expired_reservations_are_swept(stack_on_tables: Stack, caplog: pytest.LogCaptureFixture) -> None:
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
    assert "expired 1 reservations" in caplog.text
    await timers.expire_reservations(past_due=False)


async def test_usage_is_rolled_up(stack_on_tables: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    stack = stack_on_tables
    await stack.chat()
    before = await stack.usage()
    assert await start(stack, "roll_up_usage") == 202
    await eventually(lambda: "rolled up" in caplog.text)
    await timers.roll_up_usage(past_due=True)
    assert "rolled up 0 entries (past due: True)" in caplog.text
    assert await stack.usage() == before


async def test_transfers_that_were_cut_off_are_completed(
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
    await eventually(lambda: "completed 1 transfers" in caplog.text)
    await timers.level_lanes(past_due=True)
    moves = [entry for entry in (await stack.manage("GET", f"{path}/entries"))["data"] if "moved_tokens" in entry]
    assert sum(entry["moved_tokens"] for entry in moves) == 0


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
    await eventually(lambda: caplog.text.count("exported statements.json") == 2)
    reports: Any = gateway.billing.export_chargeback._build._reports
    statements = json.loads(await reports.read(f"{previous}/statements.json"))
    assert [tenant["tokens_used"] for tenant in statements["tenants"]] == [17]
    assert await gateway.billing.verify_statements(str(previous)) == []


@pytest.mark.parametrize("stack_settings", [{"CLOSE_GRACE_HOURS": "100000"}], indirect=True)
async def test_nothing_is_exported_within_the_grace(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    await timers.export_chargeback(past_due=False)
    assert "nothing exported" in caplog.text


async def test_verify_prints_every_invariant(
    stack_on_tables: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = stack_on_tables
    await stack.chat()
    gateway = await stack.gateway()
    period = str(BillingPeriod.containing(gateway.clock.now()))
    assert await asyncio.to_thread(run, ["verify", "--period", period]) == 0
    printed = capsys.readouterr().out
    assert [name for name in ("I1 ", "I2 ", "I3 ", "I4 ", "I5 ", "I7 ", "I10") if f"  {name}" not in printed] == []
    assert "VIOLATED" not in printed
    await _promises(stack, period, tmp_path, capsys)
    store: Any = gateway.ledger.books._store  # type: ignore[attr-defined]
    await _tamper(store, stack.tenant, period)
    assert await asyncio.to_thread(run, ["verify", "--period", period]) == 1
    printed = capsys.readouterr().out
    assert "I3   VIOLATED" in printed
    assert f"I3 {stack.tenant}:" in printed


async def test_a_period_is_backed_up_verified_as_a_file_and_restored(
    stack_on_tables: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = stack_on_tables
    await stack.chat()
    period = str(BillingPeriod.containing((await stack.gateway()).clock.now()))
    file = str(tmp_path / "period.gz")
    assert await asyncio.to_thread(run, ["backup", "--period", period, "--file", file]) == 0
    assert f"rows of {period} are in {file}" in capsys.readouterr().out
    assert await asyncio.to_thread(run, ["verify", "--archive", file, "--json", "--tenant", stack.tenant]) == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert (document["period"], document["tenants"], document["findings"]) == (period, 1, [])
    assert document["holds"] == dict.fromkeys(INVARIANTS, True)
    assert "Tenants verified" in told.err
    assert await asyncio.to_thread(run, ["restore", "--file", file]) == 0
    assert f"{period} is restored" in capsys.readouterr().out
    assert await asyncio.to_thread(run, ["restore", "--file", file + "x"]) == 2
    assert await asyncio.to_thread(run, ["verify", "--archive", file + "x"]) == 2
    assert capsys.readouterr().err.count("does not exist") == 2


def test_verify_says_when_it_can_say_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AUDIT_CHAIN_KEY", raising=False)
    assert run(["verify", "--period", "2026-11"]) == 2
    assert run(["verify", "--period", "November"]) == 2
    assert "AUDIT_CHAIN_KEY" in capsys.readouterr().err


def test_verify_shows_the_first_findings_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _print_text(Verification("2026-11", 1, [Finding("I1", "acme", "x")] * 25))
    assert "... and 5 more" in capsys.readouterr().out


async def _promises(stack: Stack, period: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What clients were told is compared with the books."""
    (entry,) = await stack.entries()
    told = folder / "told.txt"
    arguments = ["--period", period, "--tenant", stack.tenant, "--acknowledged", str(told)]
    told.write_text(f"{entry['request_id']}\n")
    assert await asyncio.to_thread(run, ["verify", *arguments]) == 0
    told.write_text(f"{entry['request_id']}\nnever-booked\n")
    assert await asyncio.to_thread(run, ["verify", *arguments]) == 1
    assert f"I13 {stack.tenant}: request never-booked was answered and is booked 0 times" in capsys.readouterr().out


async def _tamper(store: Any, tenant: str, period: str) -> None:
    table = f"ledger{period.replace('-', '')}"
    row = await store.get(table, f"{tenant}|00", "B")
    await store.submit(table, f"{tenant}|00", [Merge("B", {"used_tokens": 1}, row.etag)], "tamper")


def _priced(held: Any, version: str) -> Any:
    return replace(held, attempt=replace(held.attempt, price_version=version))
