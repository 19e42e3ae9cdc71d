"""One suite of the ledger port over memory and over Azurite."""

from __future__ import annotations

import asyncio

import pytest

from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.entity_group import decoded_fields
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.store import (
    Delete,
    Insert,
    InspectableStore,
    Merge,
    PreconditionFailed,
    RowChange,
    RowExists,
    RowMissing,
    StoreError,
    TableMissing,
)
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.errors import BudgetExceeded, PeriodNotOpen, QuotaExceeded
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Lane, LaneState
from shared.domain.ledger.entries import EntryKind
from shared.domain.ledger.operations import ReservationsOpen
from tests.tools.ledgers import PERIOD, PUSD, VOID, ManualClock, PriceRows, account, charge, reservation

CHAIN = HashChain(KeyRing(keys={"0": b"test"}))


def ledger_over(store: InspectableStore) -> TableLedger:
    return TableLedger(store, CHAIN, ManualClock())


async def violations(store: InspectableStore, tenant: str, period: str = PERIOD) -> list[str]:
    verify = VerifyLedger(TableBooks(store), PriceRows(), CHAIN)
    return [str(finding) async for name, found in verify(period) for finding in found if name == tenant]


async def test_a_reservation_is_held_and_settled(store: InspectableStore, tenant: str) -> None:
    ledger, held = ledger_over(store), reservation(tenant)
    after = (await ledger.reserve(account(tenant), held)).balance
    assert (after.reserved, after.open_reservations) == (held.amount, 1)
    assert [each async for each in ledger.reservations(Lane(tenant, PERIOD))] == [held]
    await ledger.settle(held, charge())
    balance = await ledger.balance(Lane(tenant, PERIOD))
    assert balance is not None
    assert (balance.used, balance.reserved, balance.seq) == (charge().amount, Amount(), 1)
    (entry,) = [each async for each in ledger.entries(Lane(tenant, PERIOD), 1, 9)]
    assert (entry.rid, entry.kind, entry.amount, entry.hash) == (held.rid, "charge", charge().amount, balance.head)
    assert entry.attempt == held.attempt
    assert await violations(store, tenant) == []


async def test_a_void_costs_nothing(store: InspectableStore, tenant: str) -> None:
    ledger, held = ledger_over(store), reservation(tenant)
    await ledger.reserve(account(tenant), held)
    balance = await ledger.settle(held, VOID)
    assert (balance.used, balance.reserved, balance.open_reservations) == (Amount(), Amount(), 0)
    assert await violations(store, tenant) == []


async def test_settling_twice_books_once(store: InspectableStore, tenant: str) -> None:
    ledger, held = ledger_over(store), reservation(tenant)
    await ledger.reserve(account(tenant), held)
    await asyncio.gather(*(ledger_over(store).settle(held, charge()) for _ in range(3)), ledger.settle(held, charge()))
    assert len([entry async for entry in ledger.entries(Lane(tenant, PERIOD), 1, 9)]) == 1
    assert await violations(store, tenant) == []


async def test_a_reservation_beyond_the_limit_is_refused(store: InspectableStore, tenant: str) -> None:
    ledger = ledger_over(store)
    limit = account(tenant, tokens=60, pusd=10**12)
    await ledger.reserve(limit, reservation(tenant))
    await ledger.reserve(limit, reservation(tenant))
    with pytest.raises(QuotaExceeded, match="0 are available"):
        await ledger.reserve(limit, reservation(tenant, 1, 0))
    dear = account(f"{tenant}-b", tokens=None, pusd=PUSD["input"] * 5)
    await ledger.reserve(dear, reservation(dear.tenant_id, 5, 0))
    with pytest.raises(BudgetExceeded, match=r"0\.00 USD are available"):
        await ledger.reserve(dear, reservation(dear.tenant_id, 1, 0))


async def test_many_processes_never_exceed_a_limit(store: InspectableStore, tenant: str) -> None:
    ledgers = [ledger_over(store) for _ in range(3)]
    limit = account(tenant, tokens=600)

    async def serve(ledger: TableLedger) -> bool:
        held = reservation(tenant)
        try:
            await ledger.reserve(limit, held)
        except QuotaExceeded:
            return False
        await ledger.settle(held, charge(10, 20))
        return True

    served = await asyncio.gather(*(serve(ledgers[number % 3]) for number in range(60)))
    balance = await ledgers[0].balance(Lane(tenant, PERIOD))
    assert balance is not None
    assert (balance.used.tokens, balance.reserved.tokens, sum(served)) == (600, 0, 20)
    assert await violations(store, tenant) == []


async def test_an_expired_reservation_is_corrected_by_its_late_settlement(store: InspectableStore, tenant: str) -> None:
    ledger, held = ledger_over(store), reservation(tenant)
    await ledger.reserve(account(tenant), held)
    await ledger_over(store).expire(held, charge(10, 0, EntryKind.EXPIRE))
    await ledger_over(store).expire(held, charge(10, 0, EntryKind.EXPIRE))
    balance = await ledger.settle(held, charge(8, 30))
    assert balance.used == charge(8, 30).amount
    assert balance.excess == charge(8, 30).amount.excess_over(charge(10, 0).amount)
    kinds = [entry.kind async for entry in ledger.entries(Lane(tenant, PERIOD), 1, 9)]
    assert kinds == [EntryKind.EXPIRE, EntryKind.LATE]
    await ledger_over(store).settle(held, charge(8, 30))
    assert await violations(store, tenant) == []


async def test_a_settlement_after_the_period_closed_is_an_adjustment_in_the_period_of_now(
    store: InspectableStore, tenant: str
) -> None:
    closed = account(tenant, period="2026-10")
    ledger, held, settled = (
        ledger_over(store),
        reservation(tenant, period="2026-10"),
        reservation(tenant, period="2026-10"),
    )
    for each in (held, settled):
        await ledger.reserve(closed, each)
    await ledger.settle(settled, VOID)
    other = ledger_over(store)
    await other.expire(held, charge(10, 0, EntryKind.EXPIRE))
    await other.begin_closing(closed)
    await other.close(closed)
    for _ in range(2):
        balance = await ledger.settle(held, charge(8, 9))
        assert balance.used == charge(8, 9).amount - charge(10, 0).amount
    assert (await ledger.settle(settled, VOID)).state is LaneState.CLOSED
    (entry,) = [entry async for entry in ledger.entries(Lane(tenant, PERIOD), 1, 9)]
    assert (entry.kind, entry.rid, entry.reference) == (EntryKind.ADJUST, held.rid, f"2026-10/{held.rid}")
    assert await violations(store, tenant) == []


async def test_a_charge_beyond_its_hold_is_accepted_and_shown_as_excess(store: InspectableStore, tenant: str) -> None:
    ledger, held = ledger_over(store), reservation(tenant)
    await ledger.reserve(account(tenant, tokens=30), held)
    balance = await ledger.settle(held, charge(10, 25))
    assert (balance.used.tokens, balance.excess.tokens) == (35, 5)
    assert await violations(store, tenant) == []


async def test_a_change_of_the_limit_is_an_entry(store: InspectableStore, tenant: str) -> None:
    ledger = ledger_over(store)
    await ledger.open(account(tenant, tokens=10))
    balance = await ledger.change_limit(account(tenant, tokens=None, pusd=7), "boss", "more")
    assert balance.limit == Limit(None, 7)
    (entry,) = [each async for each in ledger.entries(Lane(tenant, PERIOD), 1, 9)]
    assert (entry.kind, entry.limit, entry.actor, entry.reason) == (EntryKind.LIMIT, Limit(None, 7), "boss", "more")
    assert await violations(store, tenant) == []


async def test_a_period_is_closed_once_nothing_is_open(store: InspectableStore, tenant: str) -> None:
    ledger, held = ledger_over(store), reservation(tenant)
    await ledger.reserve(account(tenant), held)
    for _ in range(2):
        await ledger.begin_closing(account(tenant))
        assert (await ledger.open(account(tenant))).state is LaneState.CLOSING
    with pytest.raises(PeriodNotOpen):
        await ledger.reserve(account(tenant), reservation(tenant))
    with pytest.raises(ReservationsOpen):
        await ledger.close(account(tenant))
    await ledger.settle(held, charge())
    for closer in (ledger, ledger_over(store)):
        await closer.close(account(tenant))
        assert (await closer.open(account(tenant))).state is LaneState.CLOSED
    with pytest.raises(PeriodNotOpen):
        await ledger.change_limit(account(tenant), "boss", "too late")
    assert await violations(store, tenant) == []


async def test_a_grant_is_made_once_however_often_it_is_repeated(store: InspectableStore, tenant: str) -> None:
    ledgers = [ledger_over(store) for _ in range(3)]
    grants = (each.grant(account(tenant, 100), "g1", Amount(50), "boss", "launch") for each in ledgers)
    assert await asyncio.gather(*grants) == [Limit(150)] * 3
    balance = await ledgers[1].change_limit(account(tenant, 200), "boss", "more")
    assert (balance.limit, balance.granted) == (Limit(250), Amount(50))
    kinds = [entry.kind async for entry in ledgers[0].entries(Lane(tenant, PERIOD), 1, 9)]
    assert kinds == [EntryKind.LIMIT] * 2
    assert await violations(store, tenant) == []


async def test_a_period_that_was_never_opened_has_no_balance(store: InspectableStore, tenant: str) -> None:
    ledger = ledger_over(store)
    assert await ledger.balance(Lane(tenant, "1999-01")) is None
    assert [entry async for entry in ledger.entries(Lane(tenant, "1999-01"), 1, 9)] == []
    assert [each async for each in ledger.lanes("1999-01")] == []
    with pytest.raises(PeriodNotOpen):
        await ledger.settle(reservation(tenant, period="1999-01"), charge())


async def test_the_registry_names_every_tenant_of_a_period(store: InspectableStore, tenant: str) -> None:
    ledger = ledger_over(store)
    names = [f"{tenant}{letter}" for letter in "cab"]
    for name in names:
        await ledger.open(account(name))
        await ledger_over(store).open(account(name))
    found = [lane async for lane in ledger.lanes(PERIOD) if lane.tenant_id.startswith(tenant)]
    assert found == [Lane(name, PERIOD) for name in sorted(names)]


async def test_a_long_lane_is_read_in_pages(store: InspectableStore, tenant: str) -> None:
    table = f"pages{tenant}"
    await store.create_table(table)
    for start in range(0, 1100, 100):
        rows = [Insert(f"E|{number:016}", {"seq": number}) for number in range(start, start + 100)]
        await store.submit(table, "p|00", rows, f"c{start}")
    found = [decoded_fields(row.fields) async for row in store.scan(table, "p|00", "E|", "E}")]
    assert found == [{"seq": number} for number in range(1100)]
    assert [row.key async for row in store.scan(table, "p|00", f"E|{7:016}", f"E|{9:016}")] == [
        f"E|{7:016}",
        f"E|{8:016}",
    ]


async def test_a_transaction_is_applied_whole_or_not_at_all(store: InspectableStore, tenant: str) -> None:
    table = f"whole{tenant}"
    await store.create_table(table)
    etag = await store.submit(table, "p", [Insert("B", {"seq": 1, "text": "ü'\u2028", "flag": True})], "c1")
    row = await store.get(table, "p", "B")
    assert row is not None
    assert (row.etag, dict(row.fields)) == (etag, {"seq": 1, "text": "ü'\u2028", "flag": True})
    refused: list[tuple[list[RowChange], type[StoreError]]] = [
        ([Merge("B", {"seq": 2}, 'W/"stale"'), Insert("E", {})], PreconditionFailed),
        ([Merge("B", {"seq": 2}, etag), Insert("B2", {}), Delete("missing")], RowMissing),
        ([Insert("B", {})], RowExists),
    ]
    for changes, error in refused:
        with pytest.raises(error):
            await store.submit(table, "p", changes, "c2")
    row = await store.get(table, "p", "B")
    assert row is not None
    assert (row.etag, row.fields["seq"]) == (etag, 1)
    assert await store.get(table, "p", "B2") is None
    with pytest.raises(RowMissing):
        await store.submit(table, "p", [Merge("none", {"seq": 2}, etag)], "c3")
    merged = await store.submit(table, "p", [Merge("B", {"seq": 2**40}, etag)], "c4")
    row = await store.get(table, "p", "B")
    assert row is not None
    assert (row.etag, row.fields["seq"], row.fields["flag"]) == (merged, 2**40, True)


async def test_a_missing_table_is_told_apart_from_a_missing_row(store: InspectableStore, tenant: str) -> None:
    table = f"none{tenant}"
    with pytest.raises(TableMissing):
        await store.get(table, "p", "B")
    with pytest.raises(TableMissing):
        await store.submit(table, "p", [Insert("B", {})], "c1")
    assert [row async for row in store.scan(table, "p", "", "~")] == []
