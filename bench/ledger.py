"""`python -m bench.ledger`: what the ledger costs by itself, over Azurite and over memory, in one run.

Reading entries against the SDK; reservations of one tenant at a steady rate; processes on one hot tenant against the
same load on one lane; memory for a tenant; and what grows with the entries of a period.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles

from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables.aio import TableServiceClient

from bench.processes import ROOT, storage
from local.azurite_server import ACCOUNT
from shared.adapters.canonical_json import encode_canonical
from shared.adapters.clock import StorageClock
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.rest_store import RestTableStore, SharedKey
from shared.adapters.tables.rows import partition_of, table_of
from shared.adapters.tables.store import Insert, Merge, Row, RowChange, TableStore
from shared.composition.process import settle_heap
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.identifiers import BillingPeriod, new_rid, timestamp
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account, Lane
from shared.domain.ledger.entries import Attempt, EntryKind, Outcome, Reservation
from shared.domain.pricing.usage import Usage
from shared.domain.stored_fields import Fields

PERIOD = str(BillingPeriod.containing(datetime.now(UTC)))
_CHAIN = HashChain(KeyRing(keys={"0": b"bench"}), encode_canonical)
_LIMIT = Limit(10**12, 10**17)
_ATTEMPT = Attempt(
    deployment="gpt-4o",
    backend="bench",
    region="bench",
    model="gpt-4o",
    price_version="0123456789abcdef",
    user="ann",
    key_id="k",
    request_id="r",
    cost_center="CC-1",
    streamed=False,
)
_CHARGE = Outcome(
    kind=EntryKind.CHARGE, amount=Amount(30, 3 * 10**8), usage=Usage(input=10, output=20), status=200, latency_ms=12
)


@dataclass(slots=True)
class CountingStore:
    """Passes on, and counts transactions."""

    store: TableStore
    transactions: int = 0

    async def create_table(self, table: str) -> None:
        await self.store.create_table(table)

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        return await self.store.get(table, partition, key)

    async def submit(self, table: str, partition: str, changes: Sequence[RowChange], commit_id: str) -> str:
        self.transactions += 1
        return await self.store.submit(table, partition, changes, commit_id)

    def scan(self, table: str, partition: str, first: str, last: str) -> AsyncIterator[Row]:
        return self.store.scan(table, partition, first, last)

    def partitions(self, table: str, first: str = "", end: str = "") -> AsyncIterator[str]:
        return self.store.partitions(table, first, end)


@dataclass(slots=True)
class Served:
    """Latencies of reservations in milliseconds, and what they took."""

    latencies: list[float] = field(default_factory=list)
    transactions: int = 0
    cpu_seconds: float = 0.0

    @property
    def p50(self) -> float:
        return median(self.latencies)

    @property
    def p99(self) -> float:
        return quantiles(self.latencies, n=100)[98]

    def __str__(self) -> str:
        count = len(self.latencies)
        return (
            f"{count:6} requests   p50 {self.p50:7.1f} ms   p99 {self.p99:7.1f} ms   "
            f"{self.transactions / count:5.2f} commits and {self.cpu_seconds / count * 1000:5.2f} ms CPU a request"
        )


def _reservation(tenant: str) -> Reservation:
    now = datetime.now(UTC)
    return Reservation(
        rid=new_rid(),
        lane=Lane(tenant, PERIOD),
        amount=Amount(30, 3 * 10**8),
        input_tokens=10,
        output_tokens=20,
        created=timestamp(now),
        deadline=timestamp(now + timedelta(minutes=11)),
        instance="bench",
        attempt=_ATTEMPT,
    )


async def _serve(ledger: TableLedger, account: Account, served: Served) -> None:
    started = time.perf_counter()
    hold = await ledger.reserve(account, _reservation(account.tenant_id))
    served.latencies.append((time.perf_counter() - started) * 1000)
    await ledger.settle(hold.reservation, _CHARGE)


async def at_rate(store: TableStore, tenant: str, rate: float, requests: int, lanes: int = 1) -> Served:
    """Begin a reservation and its settlement every `1 / rate` seconds, whether or not earlier ones have ended."""
    counting, served = CountingStore(store), Served()
    ledger = TableLedger(counting, _CHAIN, StorageClock())
    account = Account(tenant_id=tenant, period=PERIOD, limit=_LIMIT, lanes=lanes)
    await _serve(ledger, account, Served())
    counting.transactions = 0
    cpu, begin = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as running:
        for number in range(requests):
            await asyncio.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            running.create_task(_serve(ledger, account, served))
    served.transactions, served.cpu_seconds = counting.transactions, time.process_time() - cpu
    return served


@asynccontextmanager
async def _rest(endpoint: str, key: str) -> AsyncIterator[RestTableStore]:
    store = RestTableStore(endpoint, SharedKey(ACCOUNT, key))
    try:
        yield store
    finally:
        await store.aclose()


async def reading(endpoint: str, key: str, entries: int = 2000) -> None:
    """Client CPU of reading a lane's entries: raw rows and ledger entries, against the SDK's query."""
    lane = Lane("reading", PERIOD)
    async with _rest(endpoint, key) as store:
        ledger = TableLedger(store, _CHAIN, StorageClock())
        account = Account(tenant_id=lane.tenant_id, period=PERIOD, limit=_LIMIT)
        for _ in range(entries // 40):
            await asyncio.gather(*(_serve(ledger, account, Served()) for _ in range(40)))
        rows, decoded, sdk = list[float](), list[float](), list[float]()
        service = TableServiceClient(endpoint, credential=AzureNamedKeyCredential(ACCOUNT, key))
        async with service:
            client = service.get_table_client(table_of(PERIOD))
            query = f"PartitionKey eq '{partition_of(lane)}' and RowKey ge 'E|' and RowKey lt 'E}}'"
            for _ in range(5):
                for taken, entities in (
                    (rows, store.scan(table_of(PERIOD), partition_of(lane), "E|", "E}")),
                    (decoded, ledger.entries(lane, 1, 10**9)),
                    (sdk, client.query_entities(query)),
                ):
                    before = time.process_time()
                    count = sum([1 async for _ in entities])
                    taken.append(time.process_time() - before)
    print(f"\nreading {count} entries (client CPU for 1,000)")
    for name, taken in (("SDK query", sdk), ("rows", rows), ("rows as ledger entries", decoded)):
        factor = median(theirs / ours for theirs, ours in zip(sdk, taken, strict=True))
        print(f"  {name:24} {median(taken) / count * 1e6:7.1f} ms   1/{factor:.1f} of the SDK's")


async def steady(endpoint: str, key: str) -> None:
    """Reservations of one tenant on one process."""
    print("\none tenant, one process, Azurite (latency of a reservation)")
    for rate, requests in ((1, 10), (10, 60), (100, 400), (400, 1200), (2000, 4000)):
        async with _rest(endpoint, key) as store:
            print(f"  {rate:4}/s  {await at_rate(store, f'steady-{rate}', rate, requests)}")


def processes(endpoint: str, key: str, count: int = 4) -> None:
    """The same load of several processes on one tenant, on one lane and on one lane each."""
    print(f"\none tenant, {count} processes, Azurite, the same load")
    for rate in (25, 100):
        for lanes in (1, count):
            tenant = f"hot-{rate}-{lanes}"
            command = [sys.executable, "-m", "bench.ledger", "--worker", endpoint, tenant, str(rate), str(lanes)]
            environment = {**os.environ, "BENCH_ACCOUNT_KEY": key}
            children = [
                subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) for _ in range(count)
            ]
            told = [json.loads(child.communicate(timeout=300)[0]) for child in children]
            total = Served(
                [latency for each in told for latency in each["latencies"]],
                sum(each["transactions"] for each in told),
                sum(each["cpu_seconds"] for each in told),
            )
            print(f"  {count} x {rate:3}/s, {lanes} lane{'s' if lanes > 1 else ' '}  {total}")


async def worker(endpoint: str, tenant: str, rate: float, lanes: int) -> None:
    """One of the processes."""
    async with _rest(endpoint, os.environ["BENCH_ACCOUNT_KEY"]) as store:
        served = await at_rate(store, tenant, rate, int(rate * 6), lanes)
    figures = {"transactions": served.transactions, "cpu_seconds": served.cpu_seconds}
    print(json.dumps({"latencies": served.latencies, **figures}))


async def memory(tenants: int = 1000) -> None:
    """Measure the memory that a process keeps for each tenant it has served, apart from rows."""
    store = InMemoryTableStore()
    for number in range(tenants):
        await TableLedger(store, _CHAIN, StorageClock()).open(
            Account(tenant_id=f"t{number}", period=PERIOD, limit=_LIMIT)
        )
    ledger = TableLedger(store, _CHAIN, StorageClock())
    await ledger.open(Account(tenant_id="first", period=PERIOD, limit=_LIMIT))
    tracemalloc.start()
    for number in range(tenants):
        await ledger.open(Account(tenant_id=f"t{number}", period=PERIOD, limit=_LIMIT))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"\nmemory for an active tenant: {kept / tenants / 1024:.1f} KiB")


async def growth(endpoint: str, key: str, sizes: Sequence[int], most_in_azurite: int) -> None:
    """The same reservations in a period with more and more entries, and a bare transaction in the same partition.

    The emulator's own time for a transaction grows, so that it is offered no more than it can take.
    """
    print("\ngrowth: reservations of one tenant with so many entries in the period, 50 a second in memory")
    async with _rest(endpoint, key) as store:
        lane, filled = Lane("growing", PERIOD), 0
        in_memory = InMemoryTableStore()
        for size in sizes:
            await _fill(in_memory, lane, filled, size)
            print(f"  {size:7}  memory  {await at_rate(in_memory, lane.tenant_id, 50, 200)}", flush=True)
            if size <= most_in_azurite:
                await _fill(store, lane, filled, size)
                await _against_bare(store, lane)
            filled = size


async def _against_bare(store: RestTableStore, lane: Lane) -> None:
    before = await _bare(store, lane)
    rate = min(5.0, 1000 / before / 6)
    served = await at_rate(store, lane.tenant_id, rate, 50)
    bare = (before + await _bare(store, lane)) / 2
    print(f"  {'':7}  Azurite {served}")
    print(
        f"  {'':7}  {rate:.1f} a second; a bare transaction takes {bare:.1f} ms, "
        f"the reservation's p50 is {served.p50 / bare:.2f} x that",
        flush=True,
    )


async def _fill(store: TableStore, lane: Lane, first: int, last: int) -> None:
    """Rows of the size of entries, beside the real ones."""
    await store.create_table(table_of(PERIOD))
    fields: Fields = {
        "kind": "charge",
        "tokens": 30,
        "pusd": 3 * 10**8,
        "deployment": "gpt-4o",
        "method": "sha256",
        "key_version": "0",
        "hash": "0" * 64,
        "mac": "0" * 64,
    }
    for start in range(first, last, 99):
        numbers = range(start, min(start + 99, last))
        rows = [Insert(f"F|{number:016}", {**fields}) for number in numbers]
        await store.submit(table_of(PERIOD), partition_of(lane), rows, "fill")


async def _bare(store: RestTableStore, lane: Lane, count: int = 30) -> float:
    """Median milliseconds of a merge and two inserts, as a commit has them, without a ledger."""
    taken = []
    key = f"Z|{new_rid()}"
    etag = await store.submit(table_of(PERIOD), partition_of(lane), [Insert(key, {"n": 0})], "bare")
    for _ in range(count):
        changes: list[RowChange] = [Merge(key, {"n": 1}, etag), *(Insert(f"Y|{new_rid()}", {"n": 1}) for _ in range(2))]
        started = time.perf_counter()
        etag = await store.submit(table_of(PERIOD), partition_of(lane), changes, "bare")
        taken.append((time.perf_counter() - started) * 1000)
    return median(taken)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.ledger")
    parser.add_argument(
        "--entries",
        type=int,
        default=20_000,
        help="the most entries that the growth bench writes into the emulator, which takes 20 minutes for 100,000",
    )
    parser.add_argument("--only-growth", action="store_true", help="nothing but the growth bench")
    parser.add_argument("--worker", nargs=4, metavar=("ENDPOINT", "TENANT", "RATE", "LANES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        endpoint, tenant, rate, lanes = options.worker
        asyncio.run(worker(endpoint, tenant, float(rate), int(lanes)))
        return 0
    settle_heap()  # as the gateway does
    if not options.only_growth:
        asyncio.run(memory())
        with storage() as (endpoint, key):
            asyncio.run(reading(endpoint, key))
            asyncio.run(steady(endpoint, key))
            processes(endpoint, key)
    with storage() as (endpoint, key):
        asyncio.run(growth(endpoint, key, sorted({1000, 20_000, options.entries, 100_000}), options.entries))
    return 0


if __name__ == "__main__":
    sys.exit(main())
