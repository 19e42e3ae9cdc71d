"""The commit protocol under every answer of storage, and under missing answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.store import Insert, Rejected
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.application.ports.ledger import Hold
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.errors import GatewayError, LedgerUnavailable, QuotaExceeded
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Balance, Lane
from shared.domain.ledger.entries import EntryKind
from tests.tools.ledgers import PERIOD, VOID, Fault, FaultyStore, ManualClock, PriceRows, account, charge, reservation

CHAIN = HashChain(KeyRing(keys={"0": b"test"}))


class Books:
    """A ledger over a store with armed faults, and another process over the same rows."""

    def __init__(self) -> None:
        self.rows = InMemoryTableStore()
        self.faulty = FaultyStore(self.rows)
        self.clock = ManualClock()
        self.ledger = TableLedger(self.faulty, CHAIN, self.clock)
        self.other = TableLedger(self.rows, CHAIN, ManualClock())

    async def balance(self) -> Balance:
        balance = await self.other.balance(Lane("acme", PERIOD))
        assert balance is not None
        return balance

    async def kinds(self) -> list[str]:
        return [entry.kind.value async for entry in self.other.entries(Lane("acme", PERIOD), 1, 999)]

    async def check(self) -> None:
        """Require every invariant."""
        verify = VerifyLedger(TableBooks(self.rows), PriceRows(), CHAIN)
        assert [finding async for _, found in verify(PERIOD) for finding in found] == []


@pytest.fixture
async def books() -> Books:
    made = Books()
    await made.ledger.open(account())
    return made


@pytest.mark.parametrize("fault", ["lost request", "lost response", "zombie"])
async def test_a_lost_answer_books_a_reservation_and_a_settlement_once(books: Books, fault: str) -> None:
    held = reservation()
    books.faulty.on_submit = [fault, None, fault]  # type: ignore[list-item]
    await books.ledger.reserve(account(), held)
    await books.ledger.settle(held, charge())
    assert (await books.balance()).used == charge().amount
    assert await books.kinds() == ["charge"]
    await books.check()


async def test_reading_the_balance_after_an_error_is_repeated_until_it_answers(books: Books) -> None:
    books.faulty.on_submit = ["lost response"]
    books.faulty.on_get = ["lost request", "lost request"]
    await books.ledger.reserve(account(), reservation())
    assert (await books.balance()).open_reservations == 1
    await books.check()


async def test_a_lost_race_is_planned_again_from_the_new_balance(books: Books) -> None:
    await books.other.reserve(account(), reservation())
    await books.ledger.reserve(account(), reservation())
    assert (await books.balance()).open_reservations == 2
    await books.check()


async def test_operations_that_arrive_during_a_commit_go_into_the_next_one(books: Books) -> None:
    busy = account("busy", tokens=None)
    await books.ledger.open(busy)
    before = books.faulty.submits
    await asyncio.gather(*(books.ledger.reserve(busy, reservation("busy")) for _ in range(150)))
    assert books.faulty.submits - before == 3  # the first alone, then 99, then 50
    balance = await books.other.balance(Lane("busy", PERIOD))
    assert balance is not None
    assert balance.open_reservations == 150


async def test_settlements_go_before_reservations(books: Books) -> None:
    held = [reservation(input_tokens=100, output_tokens=400) for _ in range(2)]
    for each in held:
        await books.ledger.reserve(account(), each)
    blocked = asyncio.gather(books.ledger.reserve(account(), reservation()), books.ledger.settle(held[0], VOID))
    await blocked
    assert await books.kinds() == ["void"]
    await books.check()


async def test_a_refusal_is_never_based_on_a_stale_balance(books: Books) -> None:
    held = reservation(input_tokens=500, output_tokens=500)
    await books.ledger.reserve(account(), held)
    await books.other.settle(held, VOID)
    books.clock.seconds += 1
    await books.ledger.reserve(account(), reservation())
    with pytest.raises(QuotaExceeded):
        await books.ledger.reserve(account(), reservation(input_tokens=999))


async def test_under_contention_an_old_balance_is_read_again_first(books: Books) -> None:
    for _ in range(5):
        await books.other.reserve(account(), reservation(input_tokens=1, output_tokens=1))
        await books.ledger.reserve(account(), reservation(input_tokens=1, output_tokens=1))
    books.clock.seconds += 0.1
    await books.other.reserve(account(), reservation(input_tokens=1, output_tokens=1))
    submits = books.faulty.submits
    await books.ledger.reserve(account(), reservation(input_tokens=1, output_tokens=1))
    assert books.faulty.submits == submits + 1
    await books.check()


async def test_an_outage_refuses_reservations_and_voids_those_that_were_committed(books: Books) -> None:
    books.faulty.on_submit = ["lost response"]
    books.faulty.before_submit = lambda: setattr(books.faulty, "on_get", ["lost request"] * 12)
    with pytest.raises(LedgerUnavailable):
        await books.ledger.reserve(account(), reservation())
    books.faulty.before_submit = None
    await books.ledger.drain()
    assert (await books.balance()).reserved == Amount()
    assert await books.kinds() == ["void"]
    await books.check()


async def test_an_outage_of_writes_alone_refuses_reservations_and_keeps_settlements(books: Books) -> None:
    held = reservation()
    await books.ledger.reserve(account(), held)
    books.faulty.takes_no_writes = True
    with pytest.raises(LedgerUnavailable):
        await books.ledger.reserve(account(), reservation())
    with pytest.raises(LedgerUnavailable):
        await books.ledger.settle(held, charge())
    assert books.faulty.submits < 20
    books.faulty.takes_no_writes = False
    await books.ledger.drain()
    assert sorted(await books.kinds()) == ["charge", "void"]
    await books.check()


async def test_an_outage_from_the_start_refuses_reservations_and_leaves_nothing_behind() -> None:
    books = Books()
    books.faulty.is_down = True
    results = await asyncio.gather(
        *(books.ledger.reserve(account(), reservation()) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [LedgerUnavailable] * 3
    await books.ledger.drain()
    with pytest.raises(LedgerUnavailable):
        await books.ledger.reserve(account(), reservation())
    books.faulty.is_down = False
    await books.ledger.reserve(account(), reservation())
    assert (await books.balance()).open_reservations == 1


async def test_opening_works_again_after_an_outage() -> None:
    books = Books()
    books.faulty.on_submit = ["lost response", None, "lost request"]
    await books.ledger.reserve(account(), reservation())
    assert (await books.balance()).open_reservations == 1
    assert [tenant async for tenant in books.other.lanes(PERIOD)] == [Lane("acme", PERIOD)]


async def test_a_settlement_outlives_an_outage(books: Books) -> None:
    held = reservation()
    await books.ledger.reserve(account(), held)
    books.faulty.is_down = True
    with pytest.raises(LedgerUnavailable):
        await books.ledger.settle(held, charge())
    assert await books.kinds() == []
    books.faulty.is_down = False
    await books.ledger.drain()
    assert await books.kinds() == ["charge"]
    await books.check()


async def test_a_settlement_that_waits_for_its_first_read_outlives_an_outage_too(books: Books) -> None:
    held = reservation()
    await books.other.reserve(account(), held)
    books.ledger = TableLedger(books.faulty, CHAIN, books.clock)
    books.faulty.is_down = True
    with pytest.raises(LedgerUnavailable):
        await books.ledger.settle(held, charge())
    books.faulty.is_down = False
    await books.ledger.drain()
    assert await books.kinds() == ["charge"]


async def test_the_hold_of_a_caller_that_leaves_is_voided(books: Books) -> None:
    gate = asyncio.Event()
    submit = books.rows.submit

    async def slow(*arguments: object) -> str:
        await gate.wait()
        return await submit(*arguments)  # type: ignore[arg-type]

    books.rows.submit = slow  # type: ignore[assignment, method-assign]
    first = asyncio.create_task(books.ledger.reserve(account(), reservation()))
    await asyncio.sleep(0)
    queued = asyncio.create_task(books.ledger.reserve(account(), reservation()))
    await asyncio.sleep(0)
    for task in (first, queued):
        task.cancel()
    gate.set()
    await books.ledger.drain()
    assert (await books.balance()).reserved == Amount()
    assert await books.kinds() == ["void"]
    await books.check()


async def test_a_commit_whose_id_has_left_the_balance_is_recognised_by_its_entry(books: Books) -> None:
    held = reservation()
    await books.ledger.reserve(account(), held)
    await _answer_late(books, books.ledger.settle(held, charge()))
    assert (await books.kinds()).count("charge") == 1
    await books.check()


async def test_a_commit_whose_id_has_left_the_balance_is_recognised_by_its_reservation(books: Books) -> None:
    held = reservation(input_tokens=1, output_tokens=1)
    await _answer_late(books, books.ledger.reserve(account(), held))
    assert held in [each async for each in books.other.reservations(Lane("acme", PERIOD))]
    await books.check()


async def test_a_commit_whose_reservation_has_expired_meanwhile_is_recognised_by_its_marker(books: Books) -> None:
    held = reservation(input_tokens=1, output_tokens=1)

    async def expire() -> None:
        await books.other.expire(held, charge(1, 0, EntryKind.EXPIRE))

    await _answer_late(books, books.ledger.reserve(account(), held), expire)
    await books.ledger.settle(held, VOID)
    assert (await books.kinds()).count("late") == 1
    await books.check()


async def test_a_commit_that_never_happened_is_planned_again_after_many_other_commits(books: Books) -> None:
    held = reservation(input_tokens=1, output_tokens=1)
    await _answer_late(books, books.ledger.reserve(account(), held), fault="lost request")
    settled = reservation(input_tokens=1, output_tokens=1)
    await books.ledger.reserve(account(), settled)
    await _answer_late(books, books.ledger.settle(settled, charge(1, 1)), fault="lost request")
    assert (await books.kinds()).count("charge") == 1
    await _answer_late(books, books.ledger.begin_closing(account()), fault="lost request")
    await books.check()


async def test_a_reservation_that_is_there_already_is_acknowledged(books: Books) -> None:
    held = reservation()
    await books.other.reserve(account(), held)
    await books.ledger.reserve(account(), held)
    assert (await books.balance()).open_reservations == 1
    await books.check()


async def test_a_late_settlement_that_another_process_made_is_not_made_again(books: Books) -> None:
    held = reservation()
    await books.ledger.reserve(account(), held)
    await books.other.expire(held, charge(10, 0, EntryKind.EXPIRE))
    books.faulty.on_submit = [None]
    settle = books.rows.submit
    calls = 0

    async def raced(table: str, partition: str, changes: object, commit_id: str) -> str:
        nonlocal calls
        calls += 1
        if calls == 3:
            books.rows.submit = settle  # type: ignore[method-assign]
            await books.other.settle(held, charge())
        return await settle(table, partition, changes, commit_id)  # type: ignore[arg-type]

    books.rows.submit = raced  # type: ignore[method-assign]
    await books.ledger.settle(held, charge())
    assert await books.kinds() == ["expire", "late"]
    await books.check()


async def test_a_rejected_operation_does_not_fail_others_of_its_batch(books: Books) -> None:
    await books.ledger.reserve(account(), reservation())
    books.faulty.on_submit = [Rejected(), None, Rejected(), None]
    results = await asyncio.gather(
        *(books.ledger.reserve(account(), reservation()) for _ in range(3)), return_exceptions=True
    )
    assert [isinstance(result, GatewayError) for result in results] == [False, True, False]
    await books.check()


async def test_a_batch_may_hold_operations_of_every_kind(books: Books) -> None:
    held = [reservation(input_tokens=1, output_tokens=1) for _ in range(3)]
    for each in held[:2]:
        await books.ledger.reserve(account(), each)
    await books.other.settle(held[0], VOID)
    results = await asyncio.gather(
        books.ledger.settle(held[0], VOID),
        books.ledger.settle(held[1], charge(1, 1)),
        books.ledger.change_limit(account(tokens=900), "boss", "less"),
        books.ledger.reserve(account(), held[2]),
        books.ledger.reserve(account(), reservation(input_tokens=9999)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [Balance, Balance, Balance, Hold, QuotaExceeded]
    assert await books.kinds() == ["void", "charge", "limit"]
    await books.check()


async def test_one_rejected_operation_is_refused(books: Books) -> None:
    books.faulty.on_submit = [Rejected(), Rejected()]
    with pytest.raises(LedgerUnavailable, match="rejected"):
        await books.ledger.reserve(account(), reservation())


async def test_a_lane_whose_rows_contradict_its_balance_is_refused_after_some_attempts(books: Books) -> None:
    held = reservation()
    await books.ledger.reserve(account(), held)
    await books.rows.submit("ledger202611", "acme|00", [Insert("E|0000000000000001", {"seq": 1})], "foreign")
    with pytest.raises(LedgerUnavailable, match="rejected"):
        await books.ledger.settle(held, charge())
    await books.ledger.reserve(account(), reservation())


async def test_an_unexpected_error_fails_the_waiting_operations_and_not_the_lane(books: Books) -> None:
    class Bug(RuntimeError):
        pass

    def fail() -> None:
        raise Bug

    loop = asyncio.get_running_loop()
    seen: list[BaseException] = []
    loop.set_exception_handler(lambda _, context: seen.append(context["exception"]))
    await books.ledger.reserve(account(), reservation())
    books.faulty.before_submit = fail
    with pytest.raises(LedgerUnavailable):
        await books.ledger.reserve(account(), reservation())
    books.faulty.before_submit = None
    with pytest.raises(QuotaExceeded):
        await books.ledger.reserve(account(), reservation(output_tokens=2000))
    await books.ledger.reserve(account(), reservation())
    assert (await books.balance()).open_reservations == 2


async def test_an_unexpected_error_in_a_lone_commit_is_raised_and_leaves_no_hold(books: Books) -> None:
    class Bug(RuntimeError):
        pass

    def fail() -> None:
        books.faulty.before_submit = None
        raise Bug

    books.faulty.before_submit = fail
    with pytest.raises(Bug):
        await books.ledger.reserve(account(), reservation())
    await books.ledger.drain()
    assert (await books.balance()).open_reservations == 0
    assert await books.kinds() == ["void"]
    await books.check()


@pytest.mark.parametrize("is_applied", [True, False])
async def test_a_lone_caller_cancelled_during_its_commit_leaves_books_that_balance(
    books: Books, is_applied: bool
) -> None:
    reached, submit = asyncio.Event(), books.rows.submit
    never = asyncio.Event()

    async def stuck(*arguments: object) -> str:
        if is_applied:
            await submit(*arguments)  # type: ignore[arg-type]
        reached.set()
        books.rows.submit = submit  # type: ignore[method-assign]
        await never.wait()
        raise AssertionError

    async def cancelled_in(act: Callable[[], Awaitable[object]]) -> None:
        books.rows.submit = stuck  # type: ignore[assignment, method-assign]
        task = asyncio.ensure_future(act())
        await reached.wait()
        reached.clear()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await books.ledger.drain()

    await cancelled_in(lambda: books.ledger.reserve(account(), reservation()))
    assert await books.kinds() == ["void"]
    held = reservation()
    await books.ledger.reserve(account(), held)
    await cancelled_in(lambda: books.ledger.settle(held, charge()))
    assert await books.kinds() == ["void", "charge"]
    await books.check()


async def test_a_lone_request_is_committed_in_its_own_task(books: Books) -> None:
    tasks: list[set[asyncio.Task[object]]] = []
    books.faulty.before_submit = lambda: tasks.append(asyncio.all_tasks())
    held = reservation()
    await books.ledger.reserve(account(), held)
    await books.ledger.settle(held, charge())
    assert tasks == [{asyncio.current_task()}] * 2


async def test_idle_committers_are_dropped_when_there_are_too_many(books: Books) -> None:
    ledger = TableLedger(books.rows, CHAIN, books.clock, max_idle_committers=2)
    for tenant in ("a", "b", "c", "d"):
        await ledger.open(account(tenant))
    assert len(ledger._committers) <= 2


async def test_reading_raises_an_error_while_storage_cannot_be_reached(books: Books) -> None:
    books.faulty.is_down = True
    with pytest.raises(LedgerUnavailable):
        await books.ledger.balance(Lane("acme", PERIOD))
    with pytest.raises(LedgerUnavailable):
        _ = [entry async for entry in books.ledger.entries(Lane("acme", PERIOD), 1, 2)]


async def _answer_late(
    books: Books,
    operation: Awaitable[object],
    between: Callable[[], Awaitable[None]] | None = None,
    fault: Fault = "lost response",
) -> None:
    """Lose the answer to an operation, and let the other process commit 40 times before the balance is read."""

    async def meanwhile() -> None:
        if between is not None:
            await between()
        for _ in range(20):
            held = reservation(input_tokens=1, output_tokens=1)
            await books.other.reserve(account(), held)
            await books.other.settle(held, VOID)

    books.faulty.on_submit = [fault]
    books.faulty.before_next_get = meanwhile
    await operation


@pytest.mark.parametrize("has_expired", [True, False])
async def test_a_settlement_after_the_close_is_booked_even_if_its_caller_has_left(has_expired: bool) -> None:
    books, october = Books(), account(period="2026-10")
    held = reservation(period="2026-10")
    await books.ledger.reserve(october, held)
    if has_expired:
        await books.other.expire(held, charge(5, 0, EntryKind.EXPIRE))
    else:
        await books.other.settle(held, charge())
    await books.other.begin_closing(october)
    await books.other.close(october)
    waiter = asyncio.create_task(books.ledger.settle(held, charge()))
    await asyncio.sleep(0)
    waiter.cancel()
    await books.ledger.drain()
    assert await books.kinds() == (["adjust"] if has_expired else [])
    await books.check()


async def test_an_outage_during_an_adjustment_raises_an_error_and_loses_nothing() -> None:
    books, october = Books(), account(period="2026-10")
    held = reservation(period="2026-10")
    await books.ledger.reserve(october, held)
    await books.other.expire(held, charge(5, 0, EntryKind.EXPIRE))
    await books.other.begin_closing(october)
    await books.other.close(october)
    await books.ledger.open(account())
    books.faulty.takes_no_writes = True
    with pytest.raises(LedgerUnavailable):
        await books.ledger.settle(held, charge())
    books.faulty.takes_no_writes = False
    await books.ledger.drain()
    assert await books.kinds() == ["adjust"]


async def test_opening_an_open_or_closed_lane_writes_nothing(books: Books) -> None:
    await books.ledger.open(account())
    await books.ledger.begin_closing(account())
    await books.ledger.close(account())
    before, submits = await books.balance(), books.faulty.submits
    await books.ledger.open(account())
    assert books.faulty.submits == submits
    assert (await books.balance()).version == before.version
