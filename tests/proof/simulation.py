"""Deterministic simulation: the ledger code of several processes over storage that fails in every known way.

A schedule follows from its seed alone: time is virtual, and faults and clients are seeded. After it, every invariant is
checked, and the books are compared with the answers that clients got. `python -m tests.proof.simulation` runs many.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.rollups import TableRollups
from shared.adapters.tables.store import AnswerLost, Row, RowChange, StoreError
from shared.application.cached_value import Cached
from shared.application.ledger.close_period import ClosePeriod
from shared.application.ledger.expire_reservations import ExpireReservations
from shared.application.ledger.level_lanes import LevelLanes
from shared.application.ledger.roll_up_usage import RollUpUsage
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.application.sweep import SweepFailed
from shared.domain.audit.hash_chain import ChainVerifier, HashChain, KeyRing
from shared.domain.errors import LedgerUnavailable, PeriodExhausted, PeriodNotOpen
from shared.domain.identifiers import BillingPeriod, timestamp
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account, Balance, Lane, LaneState
from shared.domain.ledger.entries import EntryKind, Outcome, Reservation
from shared.domain.pricing.price_book import PriceBook
from shared.domain.pricing.usage import Usage
from tests.tools.earlier_chain import EarlierChain
from tests.tools.ledgers import PRICES, PUSD, PriceRows, attempt, sweep_by
from tests.tools.virtual_time import VirtualClock, run_in_virtual_time

KEYS = {"0": b"simulation", "1": b"later key"}
CHAINS = (HashChain(KeyRing(keys=KEYS)), EarlierChain(KEYS["0"]), HashChain(KeyRing(keys=KEYS, newest="1")))
"""The processes write lanes together while an update and a change of the chain key are under way."""
TENANT = "acme"
FAULTS = ("lost request", "503 before", "lost response", "503 after", "zombie", "duplicate", "delay")
_ANSWER_TIMEOUT_SECONDS = 3.0


@dataclass(slots=True)
class Weather:
    """Parameters of a schedule: faults of storage, number of clients, and limits. `calm` ends all faults."""

    fault_rate: float
    crash_rate: float
    clients: int
    processes: int
    limit_tokens: int
    unsound: float
    start: datetime
    closes: bool
    lanes: tuple[int, int] = (1, 1)
    """The numbers of lanes that the tenant may use, at first and later."""
    new_limit: Limit | None = None
    """The limit that an administrator sets at some moment."""
    calm: bool = False

    @classmethod
    def drawn(cls, dice: random.Random) -> Weather:
        clients = dice.randint(6, 24)
        near_midnight = datetime(2026, 11, 30, 23, 59, 55, tzinfo=UTC)
        return cls(
            fault_rate=dice.choice((0.0, 0.02, 0.1, 0.3)),
            crash_rate=dice.choice((0.0, 0.5, 1.0)),
            clients=clients,
            processes=dice.randint(1, 4),
            limit_tokens=dice.randint(1, clients) * 20,
            unsound=dice.choice((0.0, 0.0, 0.3)),
            start=dice.choice((datetime(2026, 11, 22, 12, tzinfo=UTC), near_midnight)),
            closes=dice.random() < 0.5,
            lanes=(dice.choice((1, 1, 2, 4)), dice.choice((1, 1, 2, 4))),
            new_limit=dice.choice((None, None, None, Limit(), Limit(dice.randint(0, 2 * clients) * 20))),
        )


@dataclass(slots=True)
class Faults:
    """Counts of faults by kind, as evidence that a run tested something."""

    by_kind: Counter[str] = field(default_factory=Counter)


class ProcessStore:
    """Connects one process to the storage that all share. A dead process gets no answers."""

    def __init__(self, rows: InMemoryTableStore, weather: Weather, dice: random.Random, faults: Faults) -> None:
        self._rows = rows
        self._weather = weather
        self._dice = dice
        self._faults = faults
        self.calls = 0
        self.dies_at: tuple[int, bool] | None = None
        self.is_dead = False

    async def create_table(self, table: str) -> None:
        call = await self._reach()
        await self._rows.create_table(table)
        await self._return(call)

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        call = await self._reach()
        if self._fault() not in (None, "zombie", "duplicate", "delay"):
            await self._time_out()
        try:
            return await self._rows.get(table, partition, key)
        finally:
            await self._return(call)

    async def submit(self, table: str, partition: str, changes: Sequence[RowChange], commit_id: str) -> str:
        call = await self._reach()
        fault = self._fault()
        if fault in ("lost request", "503 before"):
            await self._time_out(at_once=fault == "503 before")
        if fault == "zombie":
            self._later(table, partition, changes, commit_id)
            await self._time_out()
        if fault == "duplicate":
            self._later(table, partition, changes, commit_id)
        if fault == "delay":
            await asyncio.sleep(self._dice.uniform(0.1, 2.0))
        try:
            etag = await self._rows.submit(table, partition, changes, commit_id)
        except StoreError:
            await self._return(call)
            raise
        if fault in ("lost response", "503 after"):
            await self._time_out(at_once=fault == "503 after")
        await self._return(call)
        return etag

    async def scan(self, table: str, partition: str, first: str, last: str) -> AsyncIterator[Row]:
        call = await self._reach()
        rows = [row async for row in self._rows.scan(table, partition, first, last)]
        await self._return(call)
        for row in rows:
            yield row

    def partitions(self, table: str, first: str = "", end: str = "") -> AsyncIterator[str]:
        return self._rows.partitions(table, first, end)

    async def _reach(self) -> int:
        """Send a request to storage. Returns the number of the call.

        The process may die before its request arrives, or just after.
        """
        self.calls += 1
        call = self.calls
        if self.dies_at == (call, False):
            self.is_dead = True
        await self._hang_if_dead()
        await asyncio.sleep(self._dice.uniform(0.0005, 0.01))
        if self.is_dead and self._dice.random() < 0.5:
            await self._hang_if_dead()
        return call

    async def _return(self, call: int) -> None:
        if self.dies_at == (call, True):
            self.is_dead = True
        await asyncio.sleep(self._dice.uniform(0.0005, 0.01))
        await self._hang_if_dead()

    async def _hang_if_dead(self) -> None:
        if self.is_dead:
            await asyncio.get_running_loop().create_future()

    async def _time_out(self, *, at_once: bool = False) -> None:
        await asyncio.sleep(0.005 if at_once else _ANSWER_TIMEOUT_SECONDS)
        await self._hang_if_dead()
        raise AnswerLost

    def _fault(self) -> str | None:
        if self._weather.calm or self._dice.random() >= self._weather.fault_rate:
            return None
        fault = self._dice.choice(FAULTS)
        self._faults.by_kind[fault] += 1
        return fault

    def _later(self, table: str, partition: str, changes: Sequence[RowChange], commit_id: str) -> None:
        """Let the same request arrive once more, some time from now."""

        async def arrive() -> None:
            await asyncio.sleep(self._dice.uniform(0.0, 8.0))
            try:
                await self._rows.submit(table, partition, changes, commit_id)
            except StoreError:
                return

        self._stuck = asyncio.create_task(arrive())


class Process:
    """One gateway process: its store and its ledger."""

    def __init__(self, store: ProcessStore, clock: VirtualClock, chain: HashChain) -> None:
        self.store = store
        self.clock = clock
        self.ledger = TableLedger(store, chain, clock)
        sweep = sweep_by(clock)
        self.expire = ExpireReservations(
            DocumentTenants(InMemoryDocuments()), self.ledger, Cached(_prices, clock), clock, sweep
        )
        self.roll_up = RollUpUsage(self.ledger, TableRollups(store), clock, sweep)
        self.level = LevelLanes(self.ledger, clock, sweep)
        self.close = ClosePeriod(self.ledger, self.expire, clock, timedelta(hours=48), sweep)


def _require_outage(process: Process, error: Exception) -> None:
    """Raise an error of a sweep that neither an unreachable ledger nor the death of its process explains."""
    if isinstance(error, SweepFailed):
        for _, cause in error.failures:
            _require_outage(process, cause)
    elif not isinstance(error, LedgerUnavailable) and not process.store.is_dead:
        raise error


async def _prices() -> PriceBook:
    return PriceBook(PRICES)


@dataclass(slots=True)
class ClientLog:
    """Requests of clients and the answers that they got, by rid."""

    issued: dict[str, Reservation] = field(default_factory=dict)
    admitted: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    sent: dict[str, Outcome] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    owed: dict[str, Process] = field(default_factory=dict)


class Schedule:
    """One run, whose parameters are drawn from a seed. Lists every violation at its end."""

    def __init__(self, seed: int, weather: Weather | None = None) -> None:
        self.seed = seed
        random.seed(seed)
        self.dice = random.Random(seed)
        self.weather = weather or Weather.drawn(self.dice)
        self.rows = InMemoryTableStore()
        self.faults = Faults()
        self.log = ClientLog()
        self.closing = asyncio.Event()
        self.entries: Counter[EntryKind] = Counter()
        self.entries_rolled_up = 0
        self.methods: set[str] = set()
        """The methods and key versions by which entries are chained."""
        self.crashes: list[str] = []
        self.lanes = self.weather.lanes[0]
        self._chains = cycle(CHAINS)
        self.processes = [self._process(skew=self.dice.uniform(-3, 3)) for _ in range(self.weather.processes)]

    def run(self) -> list[str]:
        """Run the schedule. Returns the violations."""
        random.seed(self.seed)
        return run_in_virtual_time(self._play())

    async def _play(self) -> list[str]:
        clients = [self._watched(self._client()) for _ in range(self.weather.clients)]
        chaos = [self._watched(self._kill_and_cancel(clients)), self._watched(self._sweep())]
        administrator = self._watched(self._administer())
        await asyncio.sleep(60)
        administrator.cancel()
        self.weather.calm = True
        for task in chaos:
            task.cancel()
        await asyncio.sleep(60)
        if self.weather.closes:
            await self._close()
        for process in self._alive():
            await process.ledger.drain()
        witness = self._process(skew=0)
        for period in ("2026-11", "2026-12"):
            async for lane in witness.ledger.lanes(period):
                await witness.expire.lane(lane)
            await witness.ledger.level_lanes(Account(tenant_id=TENANT, period=period, limit=Limit()))
            self.entries_rolled_up += (await self._mark(period)) > 0
        if self.weather.closes:
            await witness.close(BillingPeriod.parse("2026-11"))
        return await self._judge(witness)

    async def _close(self) -> None:
        """Close the month by two processes at once, under faults, while old requests still settle."""
        end = BillingPeriod.parse("2026-11").end + timedelta(hours=48, seconds=4)
        await asyncio.sleep((end - self.weather.start).total_seconds() - asyncio.get_running_loop().time())
        self.weather.calm = False
        self.weather.fault_rate = min(self.weather.fault_rate, 0.1)
        self.closing.set()
        closers = [self._watched(self._close_once(process)) for process in self._alive()[:2]]
        await asyncio.sleep(30)
        self.weather.calm = True
        await asyncio.wait(closers, timeout=30)  # the next run finishes the work of a process that died

    async def _close_once(self, process: Process) -> None:
        while True:
            try:
                await process.close(BillingPeriod.parse("2026-11"))
            except SweepFailed as error:
                _require_outage(process, error)
                self.faults.by_kind["close failed"] += 1
            else:
                return

    def _watched(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task. An unexpected error in it is a finding."""

        def note(done: asyncio.Task[None]) -> None:
            if not done.cancelled() and (error := done.exception()):
                self.crashes.append(f"{done.get_coro()!r} failed: {error!r}")

        task = asyncio.create_task(work)
        task.add_done_callback(note)
        return task

    def _alive(self) -> list[Process]:
        return [process for process in self.processes if not process.store.is_dead]

    async def _mark(self, period: str) -> int:
        return (await TableRollups(self.rows).watermark(Lane(TENANT, period))).seq

    async def _client(self) -> None:
        dice, log = self.dice, self.log
        await asyncio.sleep(dice.uniform(0, 15))
        process = dice.choice(self.processes)
        now = process.clock.now()
        period = str(BillingPeriod.containing(now))
        reservation = self._reservation(period, now)
        log.issued[reservation.rid] = reservation
        try:
            account = Account(tenant_id=TENANT, period=period, limit=Limit(self.weather.limit_tokens), lanes=self.lanes)
            reservation = (await process.ledger.reserve(account, reservation)).reservation
        except (PeriodExhausted, PeriodNotOpen):
            log.refused.add(reservation.rid)
            return
        except LedgerUnavailable:
            return
        log.admitted.add(reservation.rid)
        await asyncio.sleep(dice.choice((0.0, dice.uniform(0, 3), dice.uniform(0, 20))))
        if self.weather.closes and dice.random() < 0.15:
            await self.closing.wait()
            await asyncio.sleep(dice.uniform(0, 5))
        outcome = log.sent[reservation.rid] = self._outcome(reservation)
        try:
            await process.ledger.settle(reservation, outcome)
        except LedgerUnavailable:
            log.owed[reservation.rid] = process
        else:
            log.acknowledged.add(reservation.rid)
            if dice.random() < 0.1:  # a caller that sends the same settlement again
                with suppress(LedgerUnavailable):
                    await dice.choice(self._alive()).ledger.settle(reservation, outcome)

    async def _kill_and_cancel(self, clients: list[asyncio.Task[None]]) -> None:
        """Kill processes and let clients hang up, at random moments."""
        victims = [process for process in self.processes[1:] if self.dice.random() < self.weather.crash_rate]
        for victim in victims:
            await asyncio.sleep(self.dice.uniform(0, 10))
            victim.store.is_dead = True
            self.faults.by_kind["kill"] += 1
            if self.dice.random() < 0.5:
                client = self.dice.choice(clients)
                self.faults.by_kind["hang-up"] += not client.done()
                client.cancel()
            self.processes.append(self._process(skew=self.dice.uniform(-3, 3)))

    async def _administer(self) -> None:
        """Make the tenant hot or cold, and change its limit."""
        await asyncio.sleep(self.dice.uniform(2, 15))
        self.lanes = self.weather.lanes[1]
        if self.weather.new_limit is not None:
            process = self.dice.choice(self._alive())
            period = str(BillingPeriod.containing(process.clock.now()))
            try:
                await process.ledger.change_limit(
                    Account(tenant_id=TENANT, period=period, limit=self.weather.new_limit), "admin", "simulated"
                )
            except (LedgerUnavailable, PeriodNotOpen):
                self.faults.by_kind["limit change failed"] += 1

    async def _sweep(self) -> None:
        """Expire reservations in a random process, sometimes in two at once."""
        while True:
            await asyncio.sleep(self.dice.uniform(2, 10))
            for process in self.dice.sample(self.processes, k=min(2, len(self.processes))):
                self._sweeper = self._watched(self._sweep_once(process))

    async def _sweep_once(self, process: Process) -> None:
        try:
            await process.expire()
            await process.level()
            await process.roll_up()
        except SweepFailed as error:
            _require_outage(process, error)
            self.faults.by_kind["sweep failed"] += 1

    def _process(self, skew: float) -> Process:
        store = ProcessStore(self.rows, self.weather, self.dice, self.faults)
        return Process(store, VirtualClock(self.weather.start, skew), next(self._chains))

    def _reservation(self, period: str, now: datetime) -> Reservation:
        amount = _amount(8, self.dice.randint(2, 22))
        return Reservation(
            rid=f"{self.dice.getrandbits(128):032x}",
            lane=Lane(TENANT, period),
            amount=amount,
            input_tokens=8,
            output_tokens=amount.tokens - 8,
            created=timestamp(now),
            deadline=timestamp(now + timedelta(seconds=12)),
            instance="simulated",
            attempt=attempt(),
        )

    def _outcome(self, reservation: Reservation) -> Outcome:
        if self.dice.random() < 0.2:
            return Outcome(kind=EntryKind.VOID, status=500, error_code="upstream_500")
        most = reservation.output_tokens
        output = (
            self.dice.randint(most, 3 * most)
            if self.dice.random() < self.weather.unsound
            else self.dice.randint(0, most)
        )
        return Outcome(
            kind=EntryKind.CHARGE, amount=_amount(8, output), usage=Usage(input=8, output=output), status=200
        )

    async def _judge(self, witness: Process) -> list[str]:
        verify = VerifyLedger(TableBooks(self.rows), PriceRows(), ChainVerifier(KEYS))
        findings = [
            f"{period} {finding.invariant}: {finding.message}"
            for period in ("2026-11", "2026-12")
            async for _, found in verify(period)
            for finding in found
        ]
        self.methods.update(f"{row.method} {row.key_version}" for row in verify.chained.rows())
        booked: dict[str, Amount] = defaultdict(Amount)
        ended: set[str] = set()
        for period in ("2026-11", "2026-12"):
            balances = await witness.ledger.balances(TENANT, period)
            findings += self._judge_tenant(period, [*balances.values()])
            for lane, balance in balances.items():
                findings += self._judge_balance(period, balance)
                async for entry in witness.ledger.entries(lane, 1, balance.seq):
                    self.entries[entry.kind] += 1
                    if entry.rid:
                        booked[entry.rid] += entry.amount
                        ended.add(entry.rid)
        return findings + self._judge_clients(booked, ended) + self.crashes

    def _judge_tenant(self, period: str, lanes: list[Balance]) -> list[str]:
        """List violations over all lanes of a tenant together, which `verify` does not see in one lane."""
        found = []
        if sum((lane.transferred for lane in lanes), Amount()) != Amount():
            found.append(f"{period}: tokens or dollars are lost between lanes")
        used = sum(lane.used.tokens + lane.reserved.tokens for lane in lanes)
        excess = sum(lane.excess.tokens for lane in lanes)
        if self.weather.new_limit is None and used > self.weather.limit_tokens + excess:
            found.append(f"{period}: {used} tokens are used of {self.weather.limit_tokens}, with an excess of {excess}")
        return found

    def _judge_balance(self, period: str, balance: Balance) -> list[str]:
        found = []
        if balance.open_reservations:
            found.append(f"{period}: {balance.open_reservations} reservations never ended")
        if self.weather.closes and period == "2026-11" and balance.state is not LaneState.CLOSED:
            found.append(f"{period} is {balance.state}")
        return found

    def _judge_clients(self, booked: dict[str, Amount], ended: set[str]) -> list[str]:
        """Check invariant I13 by the records of the clients."""
        log, found = self.log, []
        found += [f"{rid} was never issued" for rid in ended - log.issued.keys()]
        found += [f"{rid} was admitted and never ended" for rid in log.admitted - ended]
        found += [f"{rid} was refused and charged" for rid in log.refused if booked[rid] != Amount()]
        kept = {rid for rid, process in log.owed.items() if not process.store.is_dead}
        for rid in log.acknowledged | kept:
            if booked[rid] != log.sent[rid].amount:
                found.append(f"{rid} was settled with {log.sent[rid].amount} and booked with {booked[rid]}")
        return found


def _amount(input_tokens: int, output_tokens: int) -> Amount:
    return Amount(input_tokens + output_tokens, input_tokens * PUSD["input"] + output_tokens * PUSD["output"])


def main() -> int:
    """Run schedules and print the evidence."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.simulation")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1000, help="how many seeds")
    options = parser.parse_args()
    evidence: Counter[str] = Counter()
    failed = 0
    for seed in range(options.first, options.first + options.count):
        schedule = Schedule(seed)
        findings = schedule.run()
        failed += bool(findings)
        for finding in findings:
            print(f"seed {seed}: {finding}")
        evidence.update(schedule.faults.by_kind)
        evidence.update({f"{kind.value} entries": count for kind, count in schedule.entries.items()})
        evidence["requests"] += len(schedule.log.issued)
        evidence["settlements acknowledged"] += len(schedule.log.acknowledged)
    for name, count in sorted(evidence.items()):
        print(f"{count:10} {name}")
    print(f"{options.count} schedules, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
