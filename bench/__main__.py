"""`python -m bench`: print every figure as a ratio to the bare proxy of the same run, and the bars it must keep."""

from __future__ import annotations

import argparse
import asyncio
import sys

from bench.commits import measure_commits
from bench.load import Figures, Target, cpu_seconds, measure, median_of, memory_mib
from bench.processes import Bench, gateway, running

CLIENTS = (1, 16, 64)
SHORT, LONG = 100, 500


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--requests", type=int, default=960, help="buffered requests a measurement")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, interleaved over the targets; the median counts")
    options = parser.parse_args()
    with running() as bench:
        asyncio.run(_run(bench, options.requests, options.rounds))
        _start_to_first_answer(bench)
    return 0


async def _run(bench: Bench, requests: int, rounds: int) -> None:
    targets = (bench.direct, bench.proxy, bench.in_memory, bench.with_azurite)
    figures_of: dict[tuple[str, int, int], Figures] = {}
    for events, count in ((0, requests), (SHORT, max(64, requests // 4)), (LONG, max(64, requests // 10))):
        for clients in CLIENTS:
            taken: dict[str, list[Figures]] = {target.name: [] for target in targets}
            for _ in range(rounds):
                for target in targets:
                    taken[target.name].append(await measure(target, clients, count, events=events))
            for name, figures in taken.items():
                figures_of[name, events, clients] = median_of(figures)
            _print(targets, figures_of, events, clients)
    _print_bars(bench, figures_of)
    for line in await measure_commits(bench.table_endpoint, bench.account_key):
        print(line)
    for target in (bench.in_memory, bench.with_azurite):
        print(f"memory of {target.name} after all of this: {memory_mib(target.pid):.0f} MiB")


def _print(
    targets: tuple[Target, ...],
    figures_of: dict[tuple[str, int, int], Figures],
    events: int,
    clients: int,
) -> None:
    kind = f"streamed, {events} events" if events else "buffered"
    proxy, direct = figures_of["bare proxy", events, clients], figures_of["direct", events, clients]
    print(f"\n{kind}, {clients} clients   (ratios to the bare proxy; latency added to direct)")
    print(f"  {'':22} {'CPU':>7} {'x proxy':>8} {'req/s':>7} {'x proxy':>8} {'added p50':>10} {'added p99':>10}")
    for target in targets:
        figures = figures_of[target.name, events, clients]
        print(
            f"  {target.name:22} {figures.cpu_ms:5.2f}ms {figures.cpu_ms / proxy.cpu_ms:8.2f} "
            f"{figures.requests_per_second:7.0f} {figures.requests_per_second / proxy.requests_per_second:8.2f} "
            f"{figures.p50_ms - direct.p50_ms:8.1f}ms {figures.p99_ms - direct.p99_ms:8.1f}ms"
        )


def _print_bars(bench: Bench, figures_of: dict[tuple[str, int, int], Figures]) -> None:
    print("\nbars")
    for clients in CLIENTS:
        proxy, memory, azurite = (
            figures_of[target.name, 0, clients] for target in (bench.proxy, bench.in_memory, bench.with_azurite)
        )
        _bar(f"CPU a buffered request in memory, {clients} clients", memory.cpu_ms / proxy.cpu_ms, 2.0, "x proxy")
        if clients != 16:
            allowed = 1.2 if clients == 1 else 0.6
            _bar(f"CPU the REST commits add, {clients} clients", azurite.cpu_ms - memory.cpu_ms, allowed, "ms")
    for clients in CLIENTS:
        added = [
            figures_of[target.name, LONG, clients].cpu_ms - figures_of[target.name, SHORT, clients].cpu_ms
            for target in (bench.in_memory, bench.proxy)
        ]
        _bar(f"CPU a further streamed event in memory, {clients} clients", added[0] / added[1], 1.3, "x proxy")


def _bar(name: str, value: float, allowed: float, unit: str) -> None:
    print(f"  {'kept  ' if value <= allowed else 'MISSED'} {name:52} {value:5.2f} {unit} (at most {allowed:g})")


def _start_to_first_answer(bench: Bench) -> None:
    settings = {
        "TALLYGATE_TABLE_ENDPOINT": bench.table_endpoint,
        "TALLYGATE_STORAGE_ACCOUNT_NAME": "tallygate",
        "TALLYGATE_STORAGE_ACCOUNT_KEY": bench.account_key,
    }
    upstream_url = bench.direct.url.partition("/openai")[0]
    with gateway("fresh", settings, upstream_url, known_tenant=bench.with_azurite) as fresh:
        asyncio.run(measure(fresh, 1, 1))
        cpu, memory = cpu_seconds(fresh.pid), memory_mib(fresh.pid)
    _bar("CPU from process start to first answer", cpu, 2.0, "s")
    _bar("memory after the first answer", memory, 120, "MiB")


if __name__ == "__main__":
    sys.exit(main())
