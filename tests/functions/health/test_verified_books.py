"""The timer `verify_books`: which books it verifies, and what it tells of those that it verified in part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from shared import timers
from shared.adapters.tables.audit_chain import AUDIT_LOG_TABLE
from shared.adapters.tables.rows import partition_of, table_of
from shared.adapters.tables.store import Row
from shared.application.health.verify_books import AUDIT_LOG
from shared.application.sweep import SweepFailed
from shared.composition.gateway import Gateway
from shared.domain.errors import RowsDamaged, StorageUnavailable
from shared.domain.health.verification import Coverage, Verification
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account, Lane
from tests.functions.health.test_status import status
from tests.tools.stack import Stack

OTHER_ROWS = "sums, limits, reservations, markers, transfers and rollups"


def damage(gateway: Gateway, table: str, partition: str, key: str, **fields: Any) -> None:
    """Change the first row of a partition whose key begins so."""
    books: Any = gateway.ledger.books
    rows = books._store._tables[table][partition]
    first = min(each for each in rows if each.startswith(key))
    rows[first] = Row(first, {**rows[first].fields, **fields}, "edited")


def books_of(gateway: Gateway) -> Any:
    return gateway.health.verify_books


def months_ago(gateway: Gateway, months: int) -> BillingPeriod:
    period = BillingPeriod.containing(gateway.clock.now())
    for _ in range(months):
        period = period.previous()
    return period


async def opened(stack: Stack, months: int) -> Lane:
    """Give the tenant books in an earlier month."""
    gateway = await stack.gateway()
    period = str(months_ago(gateway, months))
    await gateway.ledger.books.open(Account(tenant_id=stack.tenant, period=period, limit=Limit()))
    account = Account(tenant_id=stack.tenant, period=period, limit=Limit(5))
    await gateway.ledger.books.change_limit(account, "ann", "test")
    return Lane(stack.tenant, period)


async def verified(stack: Stack) -> dict[tuple[str, str], dict[str, Any]]:
    """Run the timer. Return the results by period and name."""
    await timers.verify_books(past_due=False)
    return await results(stack)


async def results(stack: Stack) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["period"], each["name"]): each for each in (await status(stack))["verifications"]}


async def counts(stack: Stack) -> dict[str, int]:
    found: dict[str, int] = {each["timer"]: each for each in (await status(stack))["timers"]}["verify_books"]["counts"]
    return found


async def test_books_that_hold_are_verified_without_a_finding(stack: Stack) -> None:
    await stack.chat()
    await timers.chain_audit(past_due=False)
    await timers.verify_books(past_due=False)
    found = {each["name"]: each for each in (await status(stack))["verifications"]}
    assert (found[stack.tenant]["entries"], found[stack.tenant]["finding_count"]) == (1, 0)
    assert found[AUDIT_LOG]["entries"] > 0


async def test_damaged_books_raise_an_alert(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    await stack.chat()
    gateway = await stack.gateway()
    lane = Lane(stack.tenant, str(BillingPeriod.containing(gateway.clock.now())))
    damage(gateway, table_of(lane.period), partition_of(lane), "E|", used_tokens=1)
    for _ in range(2):
        await timers.verify_books(past_due=False)
        await timers.deliver_alerts(past_due=False)
    found = {each["name"]: each for each in (await status(stack))["verifications"]}[stack.tenant]
    assert found["finding_count"] > 0
    assert found["findings"][0].startswith("I")
    assert caplog.text.count('"gateway.alert.kind": "verification.failed"') == 1


async def test_an_audit_log_that_is_too_large_is_left_to_the_command(stack: Stack) -> None:
    await timers.chain_audit(past_due=False)
    gateway = await stack.gateway()
    books_of(gateway)._most_entries = 0
    ((_, found),) = (await verified(stack)).items()
    reason = "more than 0 entries: run `tallygate verify`"
    assert (found["skipped"], found["coverage"], found["entries_checked"]) == (reason, "none", 0)
    assert found["not_covered"] == [f"all {found['entries']} entries: {reason}"]


async def test_verifications_of_older_periods_are_forgotten(stack: Stack) -> None:
    gateway = await stack.gateway()
    now = gateway.clock.now()
    old = BillingPeriod.containing(now).previous().previous()
    noted: Any = gateway.health.verify_books._verifications
    await noted.note("gone", Verification(name="gone", period=str(old), at=now, entries=1))
    await timers.verify_books(past_due=False)
    assert "gone" not in await noted.all()


@pytest.mark.parametrize(("row", "fields"), [("B", {"seq": "many"}), ("E|", {"event_id": "other"})])
async def test_a_damaged_audit_log_is_a_finding_of_its_own(stack: Stack, row: str, fields: dict[str, Any]) -> None:
    await timers.chain_audit(past_due=False)
    gateway = await stack.gateway()
    damage(gateway, AUDIT_LOG_TABLE, str(BillingPeriod.containing(gateway.clock.now())), row, **fields)
    await timers.verify_books(past_due=False)
    found = {each["name"]: each for each in (await status(stack))["verifications"]}[AUDIT_LOG]
    assert found["findings"][0].startswith("I18: ")


async def test_every_month_without_statements_is_verified(stack: Stack) -> None:
    gateway = await stack.gateway()
    lanes = [await opened(stack, months) for months in (0, 1, 2, 5)]
    found = await verified(stack)
    assert {period for period, name in found if name == stack.tenant} == {lane.period for lane in lanes}
    assert all(each["coverage"] == "whole" for each in found.values())
    assert await counts(stack) == {
        "violations": 0, "books": 5, "books_verified_in_part": 0, "books_never_verified": 0
    }  # fmt: skip
    assert [each for each in found if each[1] == AUDIT_LOG] == [(str(months_ago(gateway, 0)), AUDIT_LOG)]


@pytest.mark.parametrize("stack_settings", [{"CLOSE_GRACE_HOURS": "0"}], indirect=True)
async def test_an_exported_month_is_verified_for_another_month_and_while_it_is_damaged(stack: Stack) -> None:
    lanes = [await opened(stack, months) for months in (1, 2, 3)]
    await timers.export_chargeback(past_due=False)
    gateway = await stack.gateway()
    found = await verified(stack)
    assert {period for period, name in found if name == stack.tenant} == {lanes[0].period}
    noted = books_of(gateway)._verifications
    old = found[(lanes[0].period, stack.tenant)]
    damaged = Verification(
        name=stack.tenant,
        period=lanes[2].period,
        at=gateway.clock.now(),
        entries=1,
        findings=("I2: x",),
        finding_count=1,
    )
    await noted.note(f"{lanes[2].period}|{stack.tenant}", damaged)
    found = await verified(stack)
    assert found[(lanes[2].period, stack.tenant)]["finding_count"] == 0
    assert old["entries"] == found[(lanes[0].period, stack.tenant)]["entries"] == 2
    assert (lanes[2].period, stack.tenant) not in await verified(stack)


async def test_damage_in_the_month_before_raises_an_alert(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    lane = await opened(stack, 1)
    damage(await stack.gateway(), table_of(lane.period), partition_of(lane), "E|", reason="another")
    found = await verified(stack)
    await timers.deliver_alerts(past_due=False)
    assert found[(lane.period, stack.tenant)]["finding_count"] > 0
    assert caplog.text.count('"gateway.alert.kind": "verification.failed"') == 1
    assert (await counts(stack))["violations"] == found[(lane.period, stack.tenant)]["finding_count"]


async def test_a_month_of_which_nobody_can_say_if_it_is_exported_is_verified(stack: Stack) -> None:
    lane = await opened(stack, 4)

    async def unreachable(_: str) -> bool:
        raise StorageUnavailable("the reports cannot be read")

    books_of(await stack.gateway())._is_exported = unreachable
    with pytest.raises(SweepFailed, match=lane.period):
        await timers.verify_books(past_due=False)
    assert (lane.period, stack.tenant) in await results(stack)


async def test_periods_that_cannot_be_listed_hide_no_others(stack: Stack) -> None:
    lane, older = await opened(stack, 1), await opened(stack, 4)
    gateway = await stack.gateway()
    books = books_of(gateway)
    before = await verified(stack)

    class Damaged:
        """Books and an audit log whose periods cannot be listed."""

        def __init__(self, sound: Any) -> None:
            self.sound = sound

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sound, name)

        def periods(self, *_: str) -> AsyncIterator[str]:
            raise RowsDamaged("something else wrote here")

    books._ledger, books._audit_chain = Damaged(books._ledger), Damaged(books._audit_chain)
    with pytest.raises(SweepFailed, match="the periods"):
        await timers.verify_books(past_due=False)
    found = await results(stack)
    assert {(lane.period, stack.tenant), (str(months_ago(gateway, 0)), AUDIT_LOG)} <= set(found)
    assert found[(older.period, stack.tenant)]["at"] > before[(older.period, stack.tenant)]["at"]


async def test_the_status_tells_what_a_whole_verification_covered(stack: Stack) -> None:
    await stack.chat()
    await timers.chain_audit(past_due=False)
    found = await verified(stack)
    period = str(months_ago(await stack.gateway(), 0))
    one, log = found[(period, stack.tenant)], found[(period, AUDIT_LOG)]
    assert one["covered"] == [
        "1 of 1 entries: number, form, hash chain, cost, and sums against the balance",
        "1 of 1 lanes: reservations, markers, transfers and rollups against the entries",
    ]
    assert (one["coverage"], one["entries_checked"], one["not_covered"], one["skipped"]) == ("whole", 1, [], "")
    assert one["left_to_the_command"].endswith(f"`tallygate verify --period {period}`")
    events = log["entries_checked"]
    assert log["covered"] == [f"{events} events from number 1 on: number, hash chain, each event once"]
    assert (log["coverage"], log["entries"]) == ("whole", events)
    assert {"next_lane", "next_entry"}.isdisjoint(one)


async def test_what_a_verification_could_not_check_is_told(stack: Stack) -> None:
    await stack.chat()
    await timers.chain_audit(past_due=False)
    gateway = await stack.gateway()
    books = books_of(gateway)
    make, audit = books._new_verify, books._verify_audit

    def moving() -> Any:
        verify = make()
        verify.moving = 1
        return verify

    async def unknown(period: str) -> Any:
        return replace(await audit(period), unknown_keys=("7",))

    books._new_verify, books._verify_audit = moving, unknown
    found = await verified(stack)
    period = str(months_ago(gateway, 0))
    one, log = found[(period, stack.tenant)], found[(period, AUDIT_LOG)]
    assert (one["coverage"], log["coverage"]) == ("partial", "partial")
    assert one["covered"][1].startswith("0 of 1 lanes: reservations")
    assert one["not_covered"] == [
        "I4 reservations, markers and rollups of 1 lanes: they were written during each reading"
    ]
    assert log["not_covered"] == ["the mac of events with the key version 7, which is not known"]
    assert (await counts(stack))["books_verified_in_part"] == 2


async def test_books_that_take_too_long_are_told_and_leave_time_for_others(stack: Stack) -> None:
    lane = await opened(stack, 1)
    await timers.chain_audit(past_due=False)
    gateway = await stack.gateway()
    books = books_of(gateway)
    promises = books._promises

    async def slow(period: str, *rest: Any) -> Any:
        if period != lane.period:
            await asyncio.Event().wait()
        return await promises(period, *rest)

    async def silent(period: str) -> Any:
        await asyncio.Event().wait()

    books._promises, books._verify_audit, books._most_seconds = slow, silent, 0.5
    await opened(stack, 0)
    found = await verified(stack)
    period = str(months_ago(gateway, 0))
    told = "reading them took more than 0.5 s: run `tallygate verify`"
    assert (found[(period, stack.tenant)]["coverage"], found[(period, stack.tenant)]["skipped"]) == ("none", told)
    assert found[(period, AUDIT_LOG)]["not_covered"] == [f"all {found[(period, AUDIT_LOG)]['entries']} entries: {told}"]
    assert found[(lane.period, stack.tenant)]["coverage"] == "whole"


async def test_large_books_are_read_in_turn(stack: Stack) -> None:
    for _ in range(5):
        await stack.chat()
    gateway = await stack.gateway()
    books_of(gateway)._most_entries = 2
    key = (str(months_ago(gateway, 0)), stack.tenant)
    told = []
    for _ in range(4):
        found = (await verified(stack))[key]
        told.append((found["entries_checked"], found["covered"][0].partition(" cost of ")[2]))
    assert told == [
        (2, "entries 1 to 2 of lane 0"), (2, "entries 3 to 4 of lane 0"), (1, "entries 5 to 5 of lane 0"),
        (2, "entries 1 to 2 of lane 0"),
    ]  # fmt: skip
    assert (found["coverage"], found["not_covered"]) == (
        "partial",
        [
            "3 of 5 entries: other runs read them, in turn",
            f"{OTHER_ROWS}: of more than 2 entries `tallygate verify --period {key[0]} --tenant {key[1]}`",
        ],
    )


async def test_damage_in_large_books_is_found_by_each_run_until_it_is_repaired(stack: Stack) -> None:
    for _ in range(5):
        await stack.chat()
    gateway = await stack.gateway()
    books_of(gateway)._most_entries = 2
    lane = Lane(stack.tenant, str(months_ago(gateway, 0)))
    rows = gateway.ledger.books._store._tables[table_of(lane.period)][partition_of(lane)]  # type: ignore[attr-defined]
    fourth = "E|0000000000000004"
    kept = rows[fourth]
    found = []
    for change in ({}, {"user": "another"}, {}, None, kept, {}):
        if change is None:
            del rows[fourth]
        elif change:
            rows[fourth] = change if isinstance(change, Row) else Row(fourth, {**kept.fields, **change}, "edited")
        each = (await verified(stack))[(lane.period, lane.tenant_id)]
        found.append((each["entries_checked"], [message.partition(":")[0] for message in each["findings"]]))
    assert found == [(2, []), (2, ["I2"]), (2, ["I2"]), (2, ["I1"]), (2, []), (1, [])]


async def test_large_books_are_read_for_half_of_their_time(stack: Stack) -> None:
    for _ in range(3):
        await stack.chat()
    gateway = await stack.gateway()
    books = books_of(gateway)
    books._most_entries, books._most_seconds = 2, 0.0
    key = (str(months_ago(gateway, 0)), stack.tenant)
    found = (await verified(stack))[key]
    assert (found["entries_checked"], found["coverage"]) == (0, "partial")
    assert found["covered"] == ["0 of 3 entries: number, form, hash chain and cost of none"]


async def test_large_books_of_several_lanes_are_read_lane_after_lane(stack: Stack) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"lanes": 2, "monthly_quota_tokens": 100_000})
    for _ in range(3):
        await stack.chat()
    gateway = await stack.gateway()
    books = books_of(gateway)
    period = str(months_ago(gateway, 0))
    balances = await gateway.ledger.books.balances(stack.tenant, period)
    entries = {lane.number: balance.seq for lane, balance in balances.items()}
    assert len(entries) == 2
    books._most_entries = most = entries[0] + 1
    first = (await verified(stack))[(period, stack.tenant)]["covered"][0]
    second = (await verified(stack))[(period, stack.tenant)]["covered"][0]
    assert first.endswith(f"entries 1 to {entries[0]} of lane 0, entries 1 to 1 of lane 1")
    assert second.endswith(f"entries 2 to {min(entries[1], 1 + most)} of lane 1")


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[]", '{"name": 7}', '{"name":"x","period":"y","at":"2026-11-01T00:00:00","entries":1}',
     '{"name":"x","period":"no month","at":"2026-11-01T00:00:00Z","entries":1,"finding_count":1}'],
)  # fmt: skip
async def test_a_damaged_row_of_a_verification_hides_no_other(stack: Stack, text: str) -> None:
    await stack.chat()
    gateway = await stack.gateway()
    documents = books_of(gateway)._verifications._documents
    await documents.put("health", "verifications", "damaged", text)
    found = await verified(stack)
    key = (str(months_ago(gateway, 0)), stack.tenant)
    assert {key, (key[0], AUDIT_LOG)} == set(found)
    assert (await counts(stack))["books_never_verified"] == 0


async def test_a_result_of_an_earlier_version_is_told_as_unknown_and_replaced(stack: Stack) -> None:
    await stack.chat()
    gateway = await stack.gateway()
    period = str(months_ago(gateway, 0))
    documents = books_of(gateway)._verifications._documents
    text = f'{{"name":"{stack.tenant}","period":"{period}","at":"2026-11-01T00:00:00Z","entries":7}}'
    await documents.put("health", "verifications", stack.tenant, text)
    assert (await results(stack))[(period, stack.tenant)]["coverage"] == Coverage.UNKNOWN
    found = (await verified(stack))[(period, stack.tenant)]
    assert (found["coverage"], found["entries"]) == ("whole", 1)
    assert len([each for each in (await status(stack))["verifications"] if each["name"] == stack.tenant]) == 1


async def test_an_alert_that_a_run_could_not_store_is_stored_by_the_next(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    """A process may also die between the two writes."""
    await stack.chat()
    gateway = await stack.gateway()
    lane = Lane(stack.tenant, str(months_ago(gateway, 0)))
    damage(gateway, table_of(lane.period), partition_of(lane), "E|", used_tokens=1)
    books = books_of(gateway)
    store = books._store_alert

    async def unreachable(_: Any) -> None:
        raise StorageUnavailable("the outbox cannot be written")

    books._store_alert = unreachable
    with pytest.raises(SweepFailed, match="the outbox cannot be written"):
        await timers.verify_books(past_due=False)
    assert (await results(stack))[(lane.period, stack.tenant)]["finding_count"] > 0
    books._store_alert = store
    await timers.verify_books(past_due=False)
    await timers.deliver_alerts(past_due=False)
    assert caplog.text.count('"gateway.alert.kind": "verification.failed"') == 1


@pytest.mark.parametrize(
    ("lane", "entry", "read"), [(0, -5, 2), (0, 10**9, 0), (99, 1, 0), (-1, 3, 2), (0, 10**30, 0)]
)  # fmt: skip
async def test_a_position_that_somebody_has_edited_loses_one_run_at_most(
    stack: Stack, lane: int, entry: int, read: int
) -> None:
    for _ in range(3):
        await stack.chat()
    gateway = await stack.gateway()
    books = books_of(gateway)
    books._most_entries = 2
    key = (str(months_ago(gateway, 0)), stack.tenant)
    edited = Verification(
        name=key[1], period=key[0], at=gateway.clock.now(), entries=3, next_lane=lane, next_entry=entry
    )
    await books._verifications.note("|".join(key), edited)
    first, second = (await verified(stack))[key], (await verified(stack))[key]
    assert (first["entries_checked"], first["findings"], second["findings"]) == (read, [], [])
    assert second["entries_checked"] > 0


async def test_two_runs_at_once_verify_the_same_and_raise_one_alert(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    await stack.chat()
    gateway = await stack.gateway()
    lane = Lane(stack.tenant, str(months_ago(gateway, 0)))
    damage(gateway, table_of(lane.period), partition_of(lane), "E|", used_tokens=1)
    await asyncio.gather(timers.verify_books(past_due=False), timers.verify_books(past_due=True))
    await timers.deliver_alerts(past_due=False)
    assert (await results(stack))[(lane.period, stack.tenant)]["finding_count"] > 0
    assert caplog.text.count('"gateway.alert.kind": "verification.failed"') == 1
