"""State machines over the ledger's domain and over the committer. Hypothesis shrinks their findings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.ledger import TableLedger
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.application.ports.ledger import Hold
from shared.domain.audit.hash_chain import HashChain, KeyRing, genesis
from shared.domain.errors import PeriodExhausted
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Balance, LaneState
from shared.domain.ledger.changes import InsertEntry
from shared.domain.ledger.commit_plan import Plan, plan_commit
from shared.domain.ledger.entries import EntryKind, Outcome, Reservation
from shared.domain.ledger.lanes import combined
from shared.domain.ledger.operations import (
    BeginClosing,
    ChangeLimit,
    Close,
    Expire,
    LateSettle,
    Operation,
    Reserve,
    Settle,
)
from shared.domain.pricing.usage import Usage
from tests.tools.ledgers import NOW, PERIOD, VOID, Fault, FaultyStore, PriceRows, account, charge, reservation
from tests.tools.virtual_time import VirtualClock, VirtualTimeLoop

CHAIN = HashChain(KeyRing(keys={"0": b"machine"}))
T = TypeVar("T")
tokens = st.integers(0, 12)


class DomainLedger(RuleBasedStateMachine):
    """One lane is compared with a model that keeps every reservation separately."""

    @initialize(limit=st.integers(0, 60))
    def open(self, limit: int) -> None:
        self.balance = Balance(head=genesis(PERIOD, "acme|00"), limit=Limit(limit), limit0=Limit(limit))
        self.open_holds: dict[str, Reservation] = {}
        self.expired: dict[str, tuple[Reservation, Outcome]] = {}
        self.charged: list[Amount] = []
        self.excess = Amount()
        self.entries = 0

    def commit(self, operation: Operation) -> Plan:
        plan = plan_commit(self.balance, [operation], "c" * 16, NOW, CHAIN)
        if not plan.is_empty:
            self.balance = plan.balance
            self.entries += sum(isinstance(change, InsertEntry) for change in plan.changes)
        return plan

    @rule(given=tokens, asked=tokens)
    def reserve(self, given: int, asked: int) -> None:
        held = reservation(input_tokens=given, output_tokens=asked)
        limit, balance = self.balance.limit.tokens, self.balance
        assert limit is not None
        fits = balance.used.tokens + balance.reserved.tokens + held.amount.tokens <= limit
        plan = self.commit(Reserve(held))
        assert bool(plan.refused) is not (fits and balance.state is LaneState.OPEN)
        if not plan.refused:
            self.open_holds[held.rid] = held

    @precondition(lambda self: self.open_holds)
    @rule(data=st.data(), spent=tokens, is_void=st.booleans())
    def settle(self, data: st.DataObject, spent: int, is_void: bool) -> None:
        held = self.open_holds.pop(data.draw(st.sampled_from(list(self.open_holds))))
        outcome = VOID if is_void else charge(held.input_tokens, spent)
        self.commit(Settle(held, outcome))
        self.charged.append(outcome.amount)
        self.excess += outcome.amount.excess_over(held.amount)

    @precondition(lambda self: self.open_holds)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        held = self.open_holds.pop(data.draw(st.sampled_from(list(self.open_holds))))
        outcome = charge(held.input_tokens, 0, EntryKind.EXPIRE)
        self.commit(Expire(held, outcome))
        self.charged.append(outcome.amount)
        self.expired[held.rid] = held, outcome

    @precondition(lambda self: self.expired and self.balance.state is not LaneState.CLOSED)
    @rule(data=st.data(), spent=tokens)
    def settle_late(self, data: st.DataObject, spent: int) -> None:
        held, expiry = self.expired.pop(data.draw(st.sampled_from(list(self.expired))))
        outcome = charge(held.input_tokens, spent)
        self.commit(LateSettle(reservation=held, outcome=outcome, charged=expiry.amount, charged_usage=expiry.usage))
        self.charged.append(outcome.amount - expiry.amount)
        self.excess += outcome.amount.excess_over(expiry.amount)

    @rule(limit=st.integers(0, 80))
    def change_limit(self, limit: int) -> None:
        plan = self.commit(ChangeLimit(Limit(limit), "ann", "because"))
        assert bool(plan.failed) is (self.balance.state is LaneState.CLOSED)

    @rule()
    def begin_closing(self) -> None:
        self.commit(BeginClosing())

    @precondition(lambda self: self.balance.state is LaneState.CLOSING)
    @rule()
    def close(self) -> None:
        plan = self.commit(Close())
        assert bool(plan.failed) is bool(self.open_holds)

    @invariant()
    def balances(self) -> None:
        if not hasattr(self, "balance"):
            return
        assert self.balance.reserved == sum((held.amount for held in self.open_holds.values()), Amount())
        assert self.balance.open_reservations == len(self.open_holds)
        assert self.balance.used == sum(self.charged, Amount())
        assert self.balance.excess == self.excess
        assert self.balance.seq == self.entries


class Committers(RuleBasedStateMachine):
    """Two processes over one store with drawn faults, for a hot or cold tenant. Verified after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.faulty = FaultyStore(InMemoryTableStore())
        clock = VirtualClock(NOW)
        self.ledgers = [TableLedger(self.faulty, CHAIN, clock) for _ in range(2)]
        self.holds: dict[str, Reservation] = {}
        self.settled: dict[str, Amount] = {}

    def run(self, task: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await task

        return self.loop.run_until_complete(awaited())

    @rule(faults=st.lists(st.sampled_from(["lost request", "lost response", "zombie"]), min_size=1, max_size=3))
    def storm(self, faults: list[Fault]) -> None:
        self.faulty.on_submit = [*faults]

    @rule(which=st.integers(0, 1), asked=st.lists(tokens, min_size=1, max_size=4), lanes=st.sampled_from([1, 1, 2]))
    def reserve(self, which: int, asked: list[int], lanes: int) -> None:
        held = [reservation(input_tokens=1, output_tokens=output) for output in asked]
        limit = replace(account(tokens=60), lanes=lanes)

        async def all_at_once() -> list[object]:
            ledger = self.ledgers[which]
            return await asyncio.gather(*(ledger.reserve(limit, each) for each in held), return_exceptions=True)

        for each, answer in zip(held, self.run(all_at_once()), strict=True):
            if isinstance(answer, Hold):
                self.holds[each.rid] = answer.reservation
            else:
                assert isinstance(answer, PeriodExhausted)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), which=st.integers(0, 1), spent=tokens, times=st.integers(1, 2))
    def settle(self, data: st.DataObject, which: int, spent: int, times: int) -> None:
        held = self.holds.pop(data.draw(st.sampled_from(list(self.holds))))
        outcome = charge(1, min(spent, held.output_tokens))
        for _ in range(times):
            self.run(self.ledgers[which].settle(held, outcome))
        self.settled[held.rid] = outcome.amount

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), which=st.integers(0, 1))
    def expire_and_settle_late(self, data: st.DataObject, which: int) -> None:
        held = self.holds.pop(data.draw(st.sampled_from(list(self.holds))))
        expiry = Outcome(kind=EntryKind.EXPIRE, amount=charge(1, 0).amount, usage=Usage(input=1))
        self.run(self.ledgers[which].expire(held, expiry))
        self.run(self.ledgers[1 - which].settle(held, charge(1, 0)))
        self.settled[held.rid] = charge(1, 0).amount

    @invariant()
    def books_are_right(self) -> None:
        witness = TableLedger(self.faulty.store, CHAIN, VirtualClock(NOW))

        async def look() -> None:
            for ledger in self.ledgers:
                await ledger.drain()
            verify = VerifyLedger(TableBooks(self.faulty.store), PriceRows(), CHAIN)
            assert [finding async for _, found in verify(PERIOD) for finding in found] == []
            balances = await witness.balances("acme", PERIOD)
            if balances:
                balance = combined([*balances.values()])
                assert balance.used.tokens <= 60
                assert balance.used == sum(self.settled.values(), Amount())
                assert balance.open_reservations == len(self.holds)

        self.run(look())

    def teardown(self) -> None:
        self.loop.close()


_SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck))
TestDomainLedger = DomainLedger.TestCase
TestDomainLedger.settings = settings(_SETTINGS, max_examples=150, stateful_step_count=40)
TestCommitters = Committers.TestCase
TestCommitters.settings = settings(_SETTINGS, max_examples=60, stateful_step_count=20)
