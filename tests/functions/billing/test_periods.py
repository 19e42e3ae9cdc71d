"""The management routes of billing periods."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.adapters.tables.store import Insert
from shared.application.sweep import SweepFailed
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account
from tests.tools.events import waiting
from tests.tools.ledgers import reservation
from tests.tools.stack import Stack

NO_GRACE = pytest.mark.parametrize("stack_settings", [{"CLOSE_GRACE_HOURS": "0"}], indirect=True)


async def open_previous(stack: Stack) -> BillingPeriod:
    """Open the previous month for the tenant. Returns the month."""
    gateway = await stack.gateway()
    previous = BillingPeriod.containing(gateway.clock.now()).previous()
    await gateway.ledger.books.open(Account(tenant_id=stack.tenant, period=str(previous), limit=Limit()))
    return previous


async def periods(stack: Stack) -> dict[str, Any]:
    return {each["period"]: each for each in (await stack.manage("GET", "/manage/periods"))["data"]}


@NO_GRACE
async def test_a_period_is_closed_and_exported_by_hand(stack: Stack) -> None:
    assert await periods(stack) == {}
    previous = await open_previous(stack)
    await stack.chat()
    lane = f"{previous}|{stack.tenant}|00"
    found = await periods(stack)
    assert list(found) == [str(previous.next()), str(previous)]
    expected = {"period": str(previous), "closable_from": f"{previous.next()}-01T00:00:00.000Z", "lanes": 1}
    assert found[str(previous)] == {**expected, "state": "closing", "lanes_not_closed": [lane]}
    assert found[str(previous.next())]["state"] == "open"
    assert found[str(previous.next())]["lanes_not_closed"] == []
    closed = await stack.manage("POST", f"/manage/periods/{previous}/close", status=200)
    assert closed == {**expected, "state": "closed", "lanes_not_closed": []}
    for _ in range(2):
        exported = await stack.manage("POST", f"/manage/chargeback/{previous}/export", status=200)
        assert [file["name"] for file in exported["files"]] == ["statements.json", "statements.csv", "manifest.json"]
    assert (await periods(stack))[str(previous)] == {**expected, "state": "exported", "lanes_not_closed": []}
    await stack.manage("POST", f"/manage/periods/{previous}/close", status=200)
    documents = (await stack.gateway()).tenancy.tenants._tenants._documents  # type: ignore[attr-defined]
    actions = [event["action"] for event in await waiting(documents)]
    by_hand = ["period.close", "period.export", "statements.write", "period.export", "period.close"]
    assert sorted(actions[-5:]) == sorted(by_hand)  # two events of one moment have no order


async def test_a_period_that_is_not_over_is_not_closed(stack: Stack) -> None:
    await stack.chat()
    current = BillingPeriod.containing((await stack.gateway()).clock.now())
    for path in (f"/manage/periods/{current}/close", f"/manage/chargeback/{current}/export"):
        answer = await stack.manage("POST", path, status=409)
        assert answer["error"]["code"] == "period_not_over"


async def test_a_period_without_books_is_not_found(stack: Stack) -> None:
    for path in ("/manage/periods/2020-01/close", "/manage/chargeback/2020-01/export"):
        assert (await stack.manage("POST", path, status=404))["error"]["code"] == "not_found"
        answer = await stack.manage("POST", path.replace("2020-01", "2020-1"), status=400)
        assert answer["error"]["param"] == "period"


@NO_GRACE
@pytest.mark.parametrize("name", ["statements.json", "manifest.json"])
async def test_a_damaged_file_is_named_and_hides_no_other_period(stack: Stack, name: str) -> None:
    previous = await open_previous(stack)
    await stack.chat()
    await stack.manage("POST", f"/manage/chargeback/{previous}/export")
    gateway: Any = await stack.gateway()
    files = gateway.billing.export_chargeback._build._reports._files
    files[f"{previous}/{name}"] = b"{"
    assert [each["state"] for each in (await periods(stack)).values()] == ["open", "exported"]
    if name == "statements.json":
        answer = await stack.manage("POST", f"/manage/chargeback/{previous}/export", status=409)
        assert answer["error"]["code"] == "file_damaged"
        assert f"{previous}/{name}" in answer["error"]["message"]
    else:
        with pytest.raises(SweepFailed, match=f"FileDamaged: The file {previous}/{name}"):
            await gateway.billing.export_chargeback()


@NO_GRACE
async def test_lanes_that_cannot_be_closed_are_named(stack: Stack) -> None:
    previous = await open_previous(stack)
    gateway: Any = await stack.gateway()
    unpriced = reservation("lost", minutes=-(10**6), period=str(previous))
    await gateway.ledger.books.reserve(Account(tenant_id="lost", period=str(previous), limit=Limit()), unpriced)
    for path in (f"/manage/periods/{previous}/close", f"/manage/chargeback/{previous}/export"):
        error = (await stack.manage("POST", path, status=409))["error"]
        assert error["code"] == "period_not_closed"
        assert f"{previous}|lost|00" in error["message"]
        assert "UnpricedModel" in error["message"]
    assert (await periods(stack))[str(previous)]["lanes_not_closed"] == [f"{previous}|lost|00"]


@NO_GRACE
async def test_a_lane_without_a_readable_balance_is_not_closed(stack: Stack) -> None:
    previous = await open_previous(stack)
    store = (await stack.gateway()).ledger.books._store  # type: ignore[attr-defined]
    await store.submit("registry", str(previous), [Insert("half|00", {}), Insert("odd|00", {})], "spoiled")
    await store.submit(f"ledger{previous}".replace("-", ""), "odd|00", [Insert("B", {"state": "OPEN"})], "spoiled")
    names = [f"{previous}|{tenant}|00" for tenant in ("half", "odd", stack.tenant)]
    assert (await periods(stack))[str(previous)]["lanes_not_closed"] == names


@NO_GRACE
async def test_work_that_takes_longer_than_a_caller_waits_goes_on(stack: Stack) -> None:
    previous = await open_previous(stack)
    gateway: Any = await stack.gateway()
    manage, may_close = gateway.billing.periods, asyncio.Event()
    manage._patience_seconds = 0.01
    close = gateway.ledger.books.close

    async def slowly(account: Account) -> None:
        await may_close.wait()
        await close(account)

    gateway.ledger.books.close = slowly
    closing = await stack.manage("POST", f"/manage/periods/{previous}/close", status=202)
    assert closing["state"] == "closing"
    exporting = await stack.manage("POST", f"/manage/chargeback/{previous}/export", status=202)
    assert exporting == {"period": str(previous), "files": []}
    may_close.set()
    await stack.settled()
    assert (await periods(stack))[str(previous)]["state"] == "exported"


@NO_GRACE
async def test_lanes_that_a_slice_does_not_reach_are_left_to_the_next_call(stack: Stack) -> None:
    previous = await open_previous(stack)
    gateway: Any = await stack.gateway()
    gateway.billing.periods._close._sweep._slice_seconds = -1
    answer = await stack.manage("POST", f"/manage/chargeback/{previous}/export", status=202)
    assert answer["files"] == []
    gateway.billing.periods._close._sweep._slice_seconds = 60
    await stack.manage("POST", f"/manage/chargeback/{previous}/export", status=200)
