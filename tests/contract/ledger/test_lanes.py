"""Hot tenants: each process has a lane. Transfers between lanes survive the death of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest

from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.store import InspectableStore, Row, RowChange
from shared.application.ledger.level_lanes import LevelLanes
from shared.application.ports.ledger import Hold
from shared.domain.errors import (
    BudgetExceeded,
    LedgerUnavailable,
    PeriodNotOpen,
    QuotaExceeded,
    RateLimitExceeded,
)
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account, Balance, Lane, LaneState
from shared.domain.ledger.entries import EntryKind, Reservation
from shared.domain.ledger.operations import (
    ChangeLimit,
    Claim,
    InsufficientAvailable,
    LaneLeased,
    Open,
    TransferIn,
    TransferOut,
)
from shared.domain.rate_limit import RateLimits
from tests.contract.ledger.test_ledger import CHAIN, violations
from tests.tools.ledgers import PERIOD, PUSD, VOID, FaultyStore, ManualClock, account, charge, reservation, sweep_by


def hot(tenant: str, tokens: int | None = 1000, lanes: int = 4, pusd: int | None = None) -> Account:
    return replace(account(tenant, tokens, pusd), lanes=lanes)


class Fleet:
    """Processes with one clock over one store."""

    def __init__(self, store: InspectableStore, tenant: str, size: int = 2) -> None:
        self.store = store
        self.tenant = tenant
        self.clock = ManualClock()
        self.ledgers = [self.one_more() for _ in range(size)]

    def one_more(self) -> TableLedger:
        return TableLedger(self.store, CHAIN, self.clock)

    async def lanes(self) -> list[Balance]:
        """Return the balances of all lanes, the vault first."""
        return [*(await self.ledgers[0].balances(self.tenant, PERIOD)).values()]

    async def check(self) -> None:
        assert await violations(self.store, self.tenant) == []


@pytest.fixture
def fleet(store: InspectableStore, tenant: str) -> Fleet:
    return Fleet(store, tenant)


def small(tenant: str) -> Reservation:
    """Serve a request of 30 tokens."""
    return reservation(tenant)


async def serve(ledger: TableLedger, of: Account) -> Hold | None:
    try:
        hold = await ledger.reserve(of, small(of.tenant_id))
    except QuotaExceeded:
        return None
    await ledger.settle(hold.reservation, charge(10, 20))
    return hold


async def test_each_process_has_a_lane_and_the_vault_serves_nothing(fleet: Fleet, tenant: str) -> None:
    holds = [await ledger.reserve(hot(tenant), small(tenant)) for ledger in fleet.ledgers for _ in range(2)]
    assert [hold.reservation.lane.number for hold in holds] == [1, 1, 2, 2]
    vault, *lanes = await fleet.lanes()
    assert (vault.open_reservations, vault.transferred) == (0, Amount(-250))
    assert [(lane.limit, lane.transferred, lane.open_reservations) for lane in lanes] == [
        (Limit(0), Amount(125), 2)
    ] * 2
    for hold, ledger in zip(holds, reversed(fleet.ledgers * 2), strict=True):
        await ledger.settle(hold.reservation, charge(10, 20))
    assert [lane.used.tokens for lane in await fleet.lanes()] == [0, 60, 60]
    await fleet.check()


async def test_all_of_the_limit_can_be_used_and_nothing_more(store: InspectableStore, tenant: str) -> None:
    fleet = Fleet(store, tenant, size=3)
    served = await asyncio.gather(*(serve(fleet.ledgers[number % 3], hot(tenant, 610)) for number in range(60)))
    lanes = await fleet.lanes()
    assert sum(lane.used.tokens for lane in lanes) == 600
    assert sum(hold is not None for hold in served) == 20
    assert sum((lane.transferred for lane in lanes), Amount()) == Amount()
    await fleet.check()


async def test_a_question_is_refused_only_where_no_lane_can_have_a_part_of_the_limit(fleet: Fleet, tenant: str) -> None:
    ledger = fleet.ledgers[0]
    await ledger.ask(account(tenant, 100))
    hold = await ledger.reserve(account(tenant, 100), reservation(tenant, 10, 90))
    with pytest.raises(QuotaExceeded):
        await ledger.ask(account(tenant, 100))
    await ledger.ask(hot(tenant, 100))
    await ledger.settle(hold.reservation, VOID)
    await serve(ledger, hot(tenant, 100))  # a lane has half of the limit
    await ledger.reserve(account(tenant, 100), reservation(tenant, 0, 70))
    await ledger.ask(account(tenant, 100))
    assert [lane.available_tokens for lane in await fleet.lanes()] == [0, 0]


async def test_a_tenant_becomes_hot_and_cold_again_at_any_time(fleet: Fleet, tenant: str) -> None:
    one, other = fleet.ledgers
    cold = account(tenant, 300)
    early = await one.reserve(cold, small(tenant))
    assert await serve(other, hot(tenant, 300)) is not None
    await one.settle(early.reservation, charge(10, 20))
    served = [await serve(ledger, cold) for ledger in (one, other) * 5]
    assert sum(hold is not None for hold in served) == 8
    vault, lane = await fleet.lanes()
    assert (vault.used.tokens, lane.used.tokens, lane.transferred) == (270, 30, Amount(30))
    assert await serve(other, hot(tenant, 300)) is None
    await fleet.check()


async def test_a_refusal_tells_what_all_lanes_have(fleet: Fleet, tenant: str) -> None:
    await serve(fleet.ledgers[0], hot(tenant, 100))
    await serve(fleet.ledgers[1], hot(tenant, 100))
    with pytest.raises(QuotaExceeded, match="up to 50 tokens and 40 are available"):
        await fleet.ledgers[0].reserve(hot(tenant, 100), reservation(tenant, 10, 40))
    assert await serve(fleet.ledgers[0], hot(tenant, 100)) is not None


async def test_dollars_are_transferred_too(fleet: Fleet, tenant: str) -> None:
    each = 10 * PUSD["input"] + 20 * PUSD["output"]
    rich = hot(tenant, None, pusd=each * 3)
    for ledger in (*fleet.ledgers, fleet.ledgers[0]):
        hold = await ledger.reserve(rich, small(tenant))
        await ledger.settle(hold.reservation, charge(10, 20))
    with pytest.raises(BudgetExceeded):
        await fleet.ledgers[1].reserve(rich, small(tenant))
    await fleet.check()


async def test_a_tenant_without_limits_needs_no_transfers(fleet: Fleet, tenant: str) -> None:
    for ledger in fleet.ledgers:
        assert await serve(ledger, hot(tenant, None)) is not None
    vault, *lanes = await fleet.lanes()
    assert vault.seq == 0
    assert [lane.limit for lane in lanes] == [Limit(), Limit()]
    most = reservation(tenant)
    with pytest.raises(BudgetExceeded):
        await fleet.ledgers[0].reserve(hot(tenant, None), replace(most, amount=Amount(1, 10**19)))
    await fleet.check()


async def test_an_empty_limit_is_refused_without_a_transfer(fleet: Fleet, tenant: str) -> None:
    assert await serve(fleet.ledgers[0], hot(tenant, 0)) is None
    assert [lane.seq for lane in await fleet.lanes()] == [0, 0]


async def test_processes_share_lanes_if_there_are_more_of_them(store: InspectableStore, tenant: str) -> None:
    fleet = Fleet(store, tenant, size=4)
    holds = [await serve(ledger, hot(tenant, lanes=2)) for ledger in fleet.ledgers]
    numbers = [hold.reservation.lane.number for hold in holds if hold]
    assert numbers[:2] == [1, 2]
    assert {*numbers} == {1, 2}
    await fleet.check()


async def test_a_lane_is_kept_by_its_process_and_given_to_another_when_it_is_gone(fleet: Fleet, tenant: str) -> None:
    one, other = fleet.ledgers
    for _ in range(5):
        hold = await serve(one, hot(tenant, lanes=2))
        assert hold is not None
        assert hold.reservation.lane.number == 1
        fleet.clock.seconds += 25
    fleet.clock.seconds += 61
    hold = await serve(other, hot(tenant, lanes=2))
    assert hold is not None
    assert hold.reservation.lane.number == 1
    back = await serve(one, hot(tenant, lanes=2))
    assert back is not None
    assert back.reservation.lane.number == 2


async def test_a_lower_number_of_lanes_takes_effect_at_once(fleet: Fleet, tenant: str) -> None:
    for ledger in fleet.ledgers:
        await serve(ledger, hot(tenant, lanes=2))
    hold = await serve(fleet.ledgers[1], hot(tenant, lanes=3))
    assert hold is not None
    assert hold.reservation.lane.number == 2


async def test_a_lane_that_has_an_owner_is_not_given_to_another(fleet: Fleet, tenant: str) -> None:
    await serve(fleet.ledgers[0], hot(tenant))
    with pytest.raises(LaneLeased):
        await fleet.one_more().committer(Lane(tenant, PERIOD, 1)).submit(Claim("else", "2026-11-22T12:01:00.000Z"))


async def half_a_transfer(fleet: Fleet, tokens: int = 40) -> TransferOut:
    """Commit the first half of a transfer from lane 1 to lane 2."""
    for ledger in fleet.ledgers:
        await serve(ledger, hot(fleet.tenant))
    lost = TransferOut("01a0" + "0" * 28, 2, Amount(tokens))
    await fleet.one_more().committer(Lane(fleet.tenant, PERIOD, 1)).submit(lost)
    return lost


async def test_an_interrupted_transfer_is_completed_once(fleet: Fleet, tenant: str) -> None:
    lost = await half_a_transfer(fleet)
    assert sum((lane.transferred for lane in await fleet.lanes()), Amount()) == Amount(-40)
    await fleet.check()
    one, other = fleet.ledgers
    assert [await ledger.level_lanes(hot(tenant)) for ledger in (one, other, one)] == [1, 0, 0]
    late = TransferIn(lost.xid, 1, lost.amount)
    await asyncio.gather(*(ledger.committer(Lane(tenant, PERIOD, 2)).submit(late) for ledger in fleet.ledgers))
    assert sum((lane.transferred for lane in await fleet.lanes()), Amount()) == Amount()
    again = TransferOut(lost.xid, 2, lost.amount)
    await fleet.one_more().committer(Lane(tenant, PERIOD, 1)).submit(again)
    assert (await fleet.lanes())[1].transferred == Amount(125 - 40)
    await fleet.check()


async def test_a_later_round_does_not_read_transfers_matched_before(store: InspectableStore, tenant: str) -> None:
    fleet = Fleet(store, tenant)
    await half_a_transfer(fleet)
    response_owner = fleet.one_more()
    await response_owner.level_lanes(hot(tenant))
    matched = response_owner._hot._recover_since[Lane(tenant, PERIOD)]
    assert [each async for each in response_owner.transfers(Lane(tenant, PERIOD, 1), "")] != []
    assert [each async for each in response_owner.transfers(Lane(tenant, PERIOD, 1), matched[:6] + "f" * 26)] == []


async def test_a_lane_gives_no_more_than_it_has_available(fleet: Fleet, tenant: str) -> None:
    await serve(fleet.ledgers[0], hot(tenant))
    with pytest.raises(InsufficientAvailable):
        await fleet.ledgers[1].committer(Lane(tenant, PERIOD, 1)).submit(TransferOut("0" * 32, 2, Amount(96)))


async def test_a_month_closes_with_all_of_its_lanes(fleet: Fleet, tenant: str) -> None:
    await half_a_transfer(fleet)
    ledger = fleet.ledgers[0]
    await ledger.begin_closing(hot(tenant))
    assert {lane.state for lane in await fleet.lanes()} == {LaneState.CLOSING}
    for hot_or_not in (hot(tenant), account(tenant)):
        with pytest.raises(PeriodNotOpen):
            await fleet.one_more().reserve(hot_or_not, small(tenant))
    await asyncio.gather(*(each.close(hot(tenant)) for each in fleet.ledgers))
    lanes = await fleet.lanes()
    assert {lane.state for lane in lanes} == {LaneState.CLOSED}
    assert sum((lane.transferred for lane in lanes), Amount()) == Amount()
    last = [[entry async for entry in ledger.entries(lane, 1, 99)][-1].kind
            for lane in await ledger.balances(tenant, PERIOD)]  # fmt: skip
    assert last == [EntryKind.CLOSE] * len(lanes)
    await fleet.check()


async def test_a_month_closes_with_a_transfer_that_was_delayed_for_long(fleet: Fleet, tenant: str) -> None:
    for ledger in fleet.ledgers:
        await serve(ledger, hot(tenant))
    closer = fleet.ledgers[0]
    assert await closer.level_lanes(hot(tenant)) == 0
    await half_a_transfer(fleet)  # with an id from before that round, as it happens after an outage
    await closer.begin_closing(hot(tenant))
    await closer.close(hot(tenant))
    assert sum((lane.transferred for lane in await fleet.lanes()), Amount()) == Amount()
    await fleet.check()


async def test_no_lane_is_opened_in_a_closed_month(fleet: Fleet, tenant: str) -> None:
    ledger = fleet.ledgers[0]
    await ledger.open(hot(tenant))
    await ledger.begin_closing(hot(tenant))
    assert (await ledger.committer(Lane(tenant, PERIOD, 1)).submit(Open())).state is LaneState.CLOSING
    await ledger.close(hot(tenant))
    with pytest.raises(PeriodNotOpen, match="is not open"):
        await ledger.committer(Lane(tenant, PERIOD, 2)).submit(Open())
    with pytest.raises(PeriodNotOpen, match="is not open"):
        await ledger.committer(Lane("nobody", PERIOD, 2)).submit(Open())
    with pytest.raises(PeriodNotOpen):
        await fleet.one_more().reserve(hot(tenant), small(tenant))
    await fleet.check()


async def test_a_raised_limit_is_available_to_every_lane(fleet: Fleet, tenant: str) -> None:
    one, other = fleet.ledgers
    while await serve(one, hot(tenant, 100)):
        pass
    await other.change_limit(hot(tenant, 160), "boss", "more")
    fleet.clock.seconds += 1
    assert [await serve(each, hot(tenant, 160)) is not None for each in (one, other, one)] == [True, True, False]
    await fleet.check()


async def test_a_lowered_limit_is_taken_back_from_the_lanes(fleet: Fleet, tenant: str) -> None:
    one, other = fleet.ledgers
    for ledger in fleet.ledgers:
        await serve(ledger, hot(tenant, 1000, lanes=1 + 1))
    await other.change_limit(hot(tenant, 90), "boss", "less")
    assert sum(lane.available_tokens or 0 for lane in await fleet.lanes()) == 30
    assert [await serve(each, hot(tenant, 90)) is not None for each in (one, other, one)] == [True, False, False]
    await fleet.check()


async def test_a_limit_that_comes_and_goes_holds_for_lanes_that_are_open(fleet: Fleet, tenant: str) -> None:
    one, other = fleet.ledgers
    for ledger in fleet.ledgers:
        await serve(ledger, hot(tenant, None))
    await one.change_limit(hot(tenant, 90), "boss", "a limit")
    assert {lane.limit for lane in (await fleet.lanes())[1:]} == {Limit(0)}
    assert [await serve(each, hot(tenant, 90)) is not None for each in (one, other, one)] == [True, False, False]
    await fleet.check()
    await other.change_limit(hot(tenant, None), "boss", "none")
    fleet.clock.seconds += 1
    assert [await serve(each, hot(tenant, None)) is not None for each in (one, other)] == [True, True]
    await fleet.check()


async def test_the_timer_finishes_a_limit_change_that_was_cut_off(fleet: Fleet, tenant: str) -> None:
    await serve(fleet.ledgers[0], hot(tenant, None))
    await fleet.one_more().committer(Lane(tenant, PERIOD)).submit(ChangeLimit(Limit(90), "boss", "a limit"))
    assert any("limit of its own" in found for found in await violations(fleet.store, tenant))
    assert await LevelLanes(fleet.ledgers[1], fleet.clock, sweep_by(fleet.clock))() == 0
    await fleet.check()
    assert (await fleet.lanes())[1].transferred.tokens >= 30


async def test_rate_limits_are_shared_by_the_lanes_in_use(fleet: Fleet, tenant: str) -> None:
    rated = replace(hot(tenant), rate_limits=RateLimits(requests=4))
    one, other = fleet.ledgers
    alone = await one.reserve(rated, small(tenant))
    assert alone.rate_limits == RateLimits(4, None, 1)
    fleet.clock.seconds += 30
    assert (await other.reserve(rated, small(tenant))).rate_limits.lanes == 2
    fleet.clock.seconds += 21
    for ledger, more in zip(fleet.ledgers, (2, 1), strict=True):
        for _ in range(more):
            await ledger.reserve(rated, small(tenant))
        with pytest.raises(RateLimitExceeded) as refused:
            await ledger.reserve(rated, small(tenant))
        assert 0 < refused.value.retry_after_seconds <= 30


class CountingStore(InMemoryTableStore):
    """Counts the readings of the list of a tenant's lanes."""

    surveys = 0

    def scan(self, table: str, partition: str, first: str, last: str) -> AsyncIterator[Row]:
        self.surveys += table == "registry"
        return super().scan(table, partition, first, last)


async def test_after_a_refusal_a_process_does_not_ask_again_for_a_second(tenant: str) -> None:
    store = CountingStore()
    fleet = Fleet(store, tenant)
    of = hot(tenant, 50)
    hold = await fleet.ledgers[0].reserve(of, small(tenant))
    store.surveys = 0
    for _ in range(3):
        with pytest.raises(QuotaExceeded, match="20 are available"):
            await fleet.ledgers[0].reserve(of, small(tenant))
    assert store.surveys == 1
    await fleet.ledgers[0].reserve(
        of, reservation(tenant, 10, 10)
    )  # this process has seen that the others have as much
    await fleet.ledgers[0].settle(hold.reservation, VOID)
    fleet.clock.seconds += 1.001
    assert await serve(fleet.ledgers[0], of) is not None
    await fleet.check()


async def test_callers_that_lack_tokens_at_once_share_one_pull(tenant: str) -> None:
    fleet = Fleet(InMemoryTableStore(), tenant)
    of = hot(tenant, 10_000, lanes=1 + 1)
    await fleet.ledgers[0].reserve(of, small(tenant))
    before = (await fleet.lanes())[1].seq
    await asyncio.gather(*(fleet.ledgers[0].reserve(of, reservation(tenant, 10, 390)) for _ in range(9)))
    assert (await fleet.lanes())[1].seq - before <= 2
    await fleet.check()


class InterferingStore(InMemoryTableStore):
    """Lets another process act before a change of one partition, with a row of this kind, arrives."""

    partition = ""
    row = ""
    acts: list[Callable[[], Awaitable[object]]]
    is_acting = False

    async def submit(self, table: str, partition: str, changes: Sequence[RowChange], commit_id: str) -> str:
        is_meant = partition == self.partition and any(change.key.startswith(self.row) for change in changes)
        if is_meant and self.acts and not self.is_acting:
            self.is_acting = True
            await self.acts.pop(0)()
            self.is_acting = False
        return await super().submit(table, partition, changes, commit_id)


async def test_a_pull_is_planned_again_if_others_take_the_tokens_meanwhile(tenant: str) -> None:
    store = InterferingStore()
    fleet = Fleet(store, tenant)
    one, other = fleet.ledgers
    of = hot(tenant, 120)
    for ledger in fleet.ledgers:
        await serve(ledger, of)

    async def take_50() -> None:
        theft = TransferOut("0" * 32, 2, Amount(50))
        await other.committer(Lane(tenant, PERIOD)).submit(theft)
        await other.committer(Lane(tenant, PERIOD, 2)).submit(TransferIn(theft.xid, 0, theft.amount))

    store.partition, store.row, store.acts = f"{tenant}|00", "G|", [take_50]
    assert await serve(one, of) is not None
    assert store.acts == []
    vault, mine, others = await fleet.lanes()
    assert (vault.available_tokens, mine.transferred, others.available_tokens) == (10, Amount(60), 20)
    await fleet.check()


async def test_a_request_whose_pulls_always_come_too_late_is_refused(tenant: str) -> None:
    store = InterferingStore()
    fleet = Fleet(store, tenant)
    vault = fleet.one_more().committer(Lane(tenant, PERIOD))
    await serve(fleet.ledgers[0], hot(tenant, 1000, lanes=1 + 1))

    def take(number: int, tokens: int) -> Awaitable[Balance]:
        return vault.submit(TransferOut(f"{number:032x}", 9, Amount(tokens)))

    await take(0, 600)
    store.partition, store.row = f"{tenant}|00", "G|"
    store.acts = [partial(take, 1 + turn, 20) for turn in range(9)]
    with pytest.raises(QuotaExceeded):
        await fleet.ledgers[0].reserve(hot(tenant, 1000, lanes=1 + 1), reservation(tenant, 10, 360))
    assert len(store.acts) < 9


async def test_a_process_that_loses_a_claim_takes_the_next_lane(tenant: str) -> None:
    store = InterferingStore()
    fleet = Fleet(store, tenant)
    one, other = fleet.ledgers
    await one.open(hot(tenant))
    await one.committer(Lane(tenant, PERIOD, 1)).submit(Open())
    store.partition, store.row, store.acts = f"{tenant}|01", "B", [partial(serve, other, hot(tenant))]
    hold = await serve(one, hot(tenant))
    assert hold is not None
    assert hold.reservation.lane.number == 2
    assert [lane.owner != "" for lane in await fleet.lanes()] == [False, True, True]
    await fleet.check()


async def test_tokens_that_another_process_freed_in_this_lane_are_seen_at_once(tenant: str) -> None:
    fleet = Fleet(InMemoryTableStore(), tenant)
    one, other = fleet.ledgers
    first = await one.reserve(hot(tenant, 60), small(tenant))
    await one.reserve(hot(tenant, 60), small(tenant))
    await other.settle(first.reservation, VOID)
    async with asyncio.timeout(5):
        assert await serve(one, hot(tenant, 60)) is not None
    await fleet.check()


async def test_tokens_that_a_donor_has_received_since_are_seen_at_once(tenant: str) -> None:
    fleet = Fleet(InMemoryTableStore(), tenant)
    one, other = fleet.ledgers
    of = hot(tenant, 120)
    held = [await other.reserve(of, small(tenant)) for _ in range(4)]
    await one.committer(held[0].reservation.lane).submit(Open())
    for hold in held[:3]:
        await other.settle(hold.reservation, VOID)
    async with asyncio.timeout(5):
        assert await serve(one, of) is not None
    await fleet.check()


async def test_nothing_is_served_while_storage_does_not_answer(tenant: str) -> None:
    faulty = FaultyStore(InMemoryTableStore())
    fleet = Fleet(faulty, tenant)
    await serve(fleet.ledgers[0], hot(tenant))
    faulty.is_down = True
    for ledger in fleet.ledgers:
        with pytest.raises(LedgerUnavailable):
            await ledger.reserve(hot(tenant), reservation(tenant, 10, 500))
    faulty.is_down = False
    await asyncio.gather(*(ledger.drain() for ledger in fleet.ledgers))
    assert await serve(fleet.ledgers[1], hot(tenant)) is not None
    await fleet.check()


async def test_a_pull_goes_on_when_its_caller_has_left(tenant: str) -> None:
    store, begun, go_on = InterferingStore(), asyncio.Event(), asyncio.Event()
    fleet = Fleet(store, tenant)
    ledger = fleet.ledgers[0]
    await serve(ledger, hot(tenant))

    async def wait() -> None:
        begun.set()
        await go_on.wait()

    store.partition, store.row, store.acts = f"{tenant}|00", "G|", [wait]
    caller = asyncio.ensure_future(ledger.reserve(hot(tenant), reservation(tenant, 10, 400)))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    drained = asyncio.ensure_future(ledger.drain())
    await asyncio.sleep(0)
    assert not drained.done()
    go_on.set()
    await drained
    vault, lane = await fleet.lanes()
    assert lane.available_tokens == 410
    assert vault.transferred + lane.transferred == Amount()
    await fleet.check()


async def test_a_process_remembers_a_bounded_number_of_lanes(tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.adapters.tables.hot_lanes._MAX_LEASES", 3)
    fleet = Fleet(InMemoryTableStore(), tenant)
    for number in range(8):
        assert await serve(fleet.ledgers[0], hot(f"{tenant}-{number}")) is not None
    assert len(fleet.ledgers[0]._hot._lane_leases) <= 3
