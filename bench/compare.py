"""`python -m bench.compare --old main --python 3.13`: the paired bench, CPU of two checkouts in one run.

Both checkouts serve the same load in front of the same upstream. Each round starts both anew, because the place of
objects in memory moves the CPU of a process by some percent. Ends with 1 where a bar fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TypeAlias

from bench.checkouts import checkout, python_of
from bench.load import Figures, Target, calling, measure
from bench.paired import FEWEST_ROUNDS, NEW, OLD, Paired, Side, Verdict, compared, order_of_block, ratio_of_round
from bench.processes import (
    ROOT,
    fast_upstream,
    free_port,
    gateway,
    storage,
    tables_settings,
    with_new_tenant,
)

MEMORY, TABLES = "memory", "Azurite"
BLOCKS = 8
"""Each round makes four measurements of each checkout, because the load of a shared machine changes within a second."""
REQUESTS = 64
EVENTS = 60
STREAM_BLOCKS = 3
PACE_MS = {1: 2, 16: 5, 64: 20}
"""Between the events of a stream, by the most clients: together no more than a core can pass on."""
Measured: TypeAlias = tuple[Side, float]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Load that both checkouts get. `events` of a stream come one after the other; 0 asks for a buffered answer."""

    storage: str
    clients: int
    events: int = 0

    @property
    def name(self) -> str:
        kind = "streamed" if self.events else "buffered"
        return f"{kind}, {self.storage}, {self.clients} client{'s' if self.clients > 1 else ''}"

    @property
    def pace_ms(self) -> int:
        return next((pace for most, pace in PACE_MS.items() if self.clients <= most), 50) if self.events else 0

    @property
    def requests(self) -> int:
        return max(self.clients, 4 if self.events else REQUESTS)

    @property
    def blocks(self) -> int:
        return STREAM_BLOCKS if self.events else BLOCKS


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two checkouts, and the Python that runs the gateways of both."""

    folders: dict[Side, Path]
    python: str
    upstream_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """CPU milliseconds a request (medians of the rounds), and the judged ratio of a scenario."""

    scenario: str
    old_cpu_ms: float
    new_cpu_ms: float
    paired: Paired
    ratios: list[float]


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.rounds < FEWEST_ROUNDS:
        print(f"At least {FEWEST_ROUNDS} rounds are needed for an interval.", file=sys.stderr)
        return 2
    try:
        results = _compare(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(_as_json(options, results) if options.json else _as_table(options, results))
    return int(any(each.paired.verdict is Verdict.FAILED for each in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description="CPU of two checkouts, paired.")
    parser.add_argument("--old", required=True, help="a folder or a git ref of this repository")
    parser.add_argument("--new", default=str(ROOT), help="a folder or a git ref; this checkout unless given")
    parser.add_argument("--python", default=sys.executable, help="of both gateways: a path, or a version like 3.13")
    parser.add_argument("--rounds", type=int, default=20, help="an interval is worth reading from 20 rounds on")
    parser.add_argument("--clients", type=_numbers, default=(1, 16, 64), help="clients at once, by comma: 1,16,64")
    parser.add_argument("--no-streams", action="store_true", help="leave out the streams, the slowest part")
    parser.add_argument("--tables", action="store_true", help="also over Azurite, one for each checkout")
    parser.add_argument("--bar", type=float, default=1.05, help="greatest ratio new/old that is allowed")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def scenarios(options: argparse.Namespace) -> list[Scenario]:
    """Every combination that the options ask for."""
    buffered = [Scenario(MEMORY, clients) for clients in options.clients]
    streamed = [] if options.no_streams else [Scenario(MEMORY, clients, EVENTS) for clients in options.clients]
    stored = [Scenario(TABLES, clients) for clients in options.clients] if options.tables else []
    return [*buffered, *streamed, *stored]


def _compare(options: argparse.Namespace) -> list[Result]:
    with ExitStack() as stack:
        folders: dict[Side, Path] = {
            OLD: stack.enter_context(checkout(options.old, ROOT)),
            NEW: stack.enter_context(checkout(options.new, ROOT)),
        }
        port = free_port()
        stack.enter_context(fast_upstream(port))
        comparison = Comparison(folders, python_of(options.python, ROOT), f"http://127.0.0.1:{port}")
        return [
            _result(scenario, rounds, options.bar)
            for scenario, rounds in _all_rounds(comparison, scenarios(options), options.rounds).items()
        ]


def _all_rounds(comparison: Comparison, wanted: list[Scenario], rounds: int) -> dict[Scenario, list[list[Measured]]]:
    taken: dict[Scenario, list[list[Measured]]] = {scenario: [] for scenario in wanted}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for kind in (MEMORY, TABLES):
            chosen = [scenario for scenario in wanted if scenario.storage == kind]
            if chosen:
                with _both(comparison, kind, number) as targets:
                    for scenario in chosen:
                        taken[scenario].append(asyncio.run(_round(targets, scenario, number)))
    return taken


@contextmanager
def _both(comparison: Comparison, kind: str, number: int) -> Iterator[dict[Side, Target]]:
    """A warm gateway of each checkout, with storage of its own: the two may store differently."""
    with ExitStack() as stack:
        targets: dict[Side, Target] = {}
        for side in order_of_block(number)[:2]:
            settings = (
                tables_settings(*stack.enter_context(storage())) if kind == TABLES else {"TALLYGATE_STORAGE": "memory"}
            )
            # The same seed for both: the order of a set is not what is compared.
            environment = {**settings, "PYTHONHASHSEED": str(number)}
            targets[side] = stack.enter_context(
                gateway(
                    side,
                    environment,
                    comparison.upstream_url,
                    python=comparison.python,
                    checkout=comparison.folders[side],
                )
            )
            asyncio.run(measure(targets[side], clients=16, requests=320))
        yield targets


async def _round(targets: dict[Side, Target], scenario: Scenario, number: int) -> list[Measured]:
    """CPU milliseconds a request of many short measurements, of tenants without entries."""
    async with AsyncExitStack() as stack:
        measure_side: dict[Side, Callable[[int], Awaitable[Figures]]] = {}
        for side, target in targets.items():
            fresh = await asyncio.to_thread(with_new_tenant, target)
            callers = calling(fresh, scenario.clients, events=scenario.events, pace_ms=scenario.pace_ms)
            measure_side[side] = await stack.enter_async_context(callers)
        order = [side for block in range(scenario.blocks) for side in order_of_block(number + block)]
        return [(side, (await measure_side[side](scenario.requests)).cpu_ms) for side in order]


def _result(scenario: Scenario, rounds: list[list[Measured]], bar: float) -> Result:
    ratios = [ratio_of_round(measured) for measured in rounds]
    old, new = (median(cpu for measured in rounds for side, cpu in measured if side == wanted) for wanted in (OLD, NEW))
    return Result(scenario=scenario.name, old_cpu_ms=old, new_cpu_ms=new, paired=compared(ratios, bar), ratios=ratios)


def _as_table(options: argparse.Namespace, results: list[Result]) -> str:
    lines = [
        f"CPU of {options.new} against {options.old}, Python {options.python}, {options.rounds} rounds",
        f"{'CPU a request':32}{'old':>9}{'new':>9}  new/old  95% of the median, at most {options.bar:g}",
    ]
    for each in results:
        paired = each.paired
        lines.append(
            f"{each.scenario:32}{each.old_cpu_ms:7.3f}ms{each.new_cpu_ms:7.3f}ms{paired.ratio:9.3f}"
            f"  {paired.lower:.3f} to {paired.upper:.3f}  {paired.verdict}"
        )
    return "\n".join(lines)


def _as_json(options: argparse.Namespace, results: list[Result]) -> str:
    document = {
        "old": options.old,
        "new": options.new,
        "python": options.python,
        "rounds": options.rounds,
        "bar": options.bar,
        "scenarios": [asdict(each) for each in results],
    }
    return json.dumps(document, indent=2)


if __name__ == "__main__":
    sys.exit(main())
