"""`python -m bench`: print every figure as a ratio to the bare proxy of the same run, and the bars it must keep."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from bench.commits import measure_commits
from bench.load import CHAT, Figures, Target, cpu_seconds, measure, median_of, memory_mib
from bench.processes import Bench, gateway, running, tables_settings, with_new_tenant

CLIENTS = (1, 16, 64)
PACE_MS = {1: 2, 16: 5, 64: 20}
"""Between the events of a stream, by the number of clients: no more altogether than a core can pass on."""
PACED_ROUNDS = 11
"""The cost of one event is the small difference of two measurements, each as noisy as the machine."""
Rows: TypeAlias = dict[str, list[Figures]]


@dataclass(frozen=True, slots=True)
class Load:
    """The workload of each target: buffered answers, streams at full speed, or streams with paced events."""

    name: str
    events: int = 0
    is_paced: bool = False
    operation: str = CHAT
    clients: tuple[int, ...] = CLIENTS

    def requests(self, clients: int, buffered: int) -> int:
        """Return the number of requests of a measurement, given that of a buffered one."""
        if self.is_paced:
            return clients
        return max(64, buffered // 4) if self.events else buffered


BUFFERED = Load("buffered")
SHORT = Load("streamed, 20 events one after the other", events=20, is_paced=True)
LONG = Load("streamed, 220 events one after the other", events=220, is_paced=True)
LOADS = (
    BUFFERED,
    Load("streamed, 100 events in a heap", events=100),
    SHORT,
    LONG,
    Load("embeddings", operation="embeddings", clients=(1, 16)),
    Load("responses", operation="responses", clients=(1, 16)),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--requests", type=int, default=1920, help="buffered requests a measurement")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, interleaved over the targets; the median counts")
    options = parser.parse_args()
    with running() as bench:
        asyncio.run(_run(bench, options.requests, options.rounds))
        _start_to_first_answer(bench)
    return 0


async def _run(bench: Bench, requests: int, rounds: int) -> None:
    taken: dict[tuple[Load, int], Rows] = {}
    for load in LOADS:
        for clients in load.clients:
            rows = taken[load, clients] = await _rounds(bench, load, clients, load.requests(clients, requests), rounds)
            _print(bench, rows, load.name, clients)
    _print_bars(bench, taken)
    for line in await measure_commits(bench.table_endpoint, bench.account_key):
        print(line)
    for target in (bench.in_memory, bench.with_azurite):
        print(f"memory of {target.name} after all of this: {memory_mib(target.pid):.0f} MiB")


async def _rounds(bench: Bench, load: Load, clients: int, requests: int, rounds: int) -> Rows:
    """The figures of each round, by target; the targets of a round run next to each other."""
    targets = (bench.direct, bench.proxy, bench.in_memory, bench.with_azurite)
    rows: Rows = {target.name: [] for target in targets}
    pace_ms = PACE_MS[clients] if load.is_paced else 0
    for _ in range(PACED_ROUNDS if load.is_paced else rounds):
        for target in targets:
            fresh = await asyncio.to_thread(with_new_tenant, target)
            figures = await measure(
                fresh, clients, requests, events=load.events, pace_ms=pace_ms, operation=load.operation
            )
            rows[target.name].append(figures)
    return rows


def _print(bench: Bench, rows: Rows, kind: str, clients: int) -> None:
    proxies, direct = rows[bench.proxy.name], median_of(rows[bench.direct.name])
    print(f"\n{kind}, {clients} clients   (ratios to the bare proxy; latency added to direct)")
    print(f"  {'':22} {'CPU':>7} {'x proxy':>8} {'req/s':>7} {'x proxy':>8} {'added p50':>10} {'added p99':>10}")
    for name, taken in rows.items():
        figures = median_of(taken)
        cpu = median(own.cpu_ms / proxy.cpu_ms for own, proxy in zip(taken, proxies, strict=True))
        rate = median(
            own.requests_per_second / proxy.requests_per_second for own, proxy in zip(taken, proxies, strict=True)
        )
        print(
            f"  {name:22} {figures.cpu_ms:5.2f}ms {cpu:8.2f} {figures.requests_per_second:7.0f} {rate:8.2f} "
            f"{figures.p50_ms - direct.p50_ms:8.1f}ms {figures.p99_ms - direct.p99_ms:8.1f}ms"
        )


def _print_bars(bench: Bench, taken: dict[tuple[Load, int], Rows]) -> None:
    """Each bar is the median of what the rounds gave: a round's targets ran next to each other, in the same weather."""

    def cpu(load: Load, clients: int, target: Target) -> list[float]:
        return [figures.cpu_ms for figures in taken[load, clients][target.name]]

    print("\nbars")
    for clients in CLIENTS:
        targets = (bench.proxy, bench.in_memory, bench.with_azurite)
        proxy, memory, azurite = (cpu(BUFFERED, clients, each) for each in targets)
        ratio = median(own / bare for own, bare in zip(memory, proxy, strict=True))
        _bar(f"CPU a buffered request in memory, {clients} clients", ratio, 2.0, "x proxy")
        if clients != 16:
            added = median(stored - own for stored, own in zip(azurite, memory, strict=True))
            _bar(f"CPU the REST commits add, {clients} clients", added, 1.2 if clients == 1 else 0.6, "ms")
    for clients in CLIENTS:
        own, bare = (
            median(
                long - short for long, short in zip(cpu(LONG, clients, each), cpu(SHORT, clients, each), strict=True)
            )
            for each in (bench.in_memory, bench.proxy)
        )
        _bar(f"CPU a further streamed event in memory, {clients} clients", own / bare, 1.3, "x proxy")


def _bar(name: str, value: float, allowed: float, unit: str) -> None:
    print(f"  {'kept  ' if value <= allowed else 'MISSED'} {name:52} {value:5.2f} {unit} (at most {allowed:g})")


def _start_to_first_answer(bench: Bench) -> None:
    settings = tables_settings(bench.table_endpoint, bench.account_key)
    upstream_url = bench.direct.url.partition("/openai")[0]
    with gateway("fresh", settings, upstream_url, known_tenant=bench.with_azurite) as fresh:
        asyncio.run(measure(fresh, 1, 1))
        cpu, memory = cpu_seconds(fresh.pid), memory_mib(fresh.pid)
    _bar("CPU from process start to first answer", cpu, 2.0, "s")
    _bar("memory after the first answer", memory, 120, "MiB")


if __name__ == "__main__":
    sys.exit(main())
