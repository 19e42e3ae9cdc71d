"""`python -m bench.routing`: what a choice among backends costs, and whether five backends serve what one serves."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from contextlib import ExitStack
from statistics import median

from bench.load import Target, measure
from bench.processes import free_port, gateway, manage, process, with_new_tenant
from shared.domain.routing.backend_health import BackendHealth
from shared.domain.routing.catalog import Backend
from shared.domain.routing.selection import Candidate, Pool
from shared.domain.routing.transitions import Transitions

SIZES = (3, 30, 300)
CLIENTS = 16


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.routing")
    parser.add_argument("--choices", type=int, default=20_000, help="choices a measurement")
    parser.add_argument("--requests", type=int, default=480, help="requests a measurement")
    parser.add_argument("--rounds", type=int, default=9, help="rounds; the median counts")
    options = parser.parse_args()
    print("one choice, with its beginning, its answer and its end (a thousand a second, one in a hundred is throttled)")
    for size in SIZES:
        quiet, busy = (_choice_us(size, options.choices, share) for share in (0.0, 0.01))
        print(f"  {size:4} backends   all well {quiet:5.2f} us   with refusals {busy:5.2f} us")
    with ExitStack() as stack:
        _throughput(stack, options.requests, options.rounds)
    return 0


def _choice_us(size: int, choices: int, refused: float) -> float:
    """Microseconds of one choice and its bookkeeping; the clock is the bench's own."""
    dice, transitions = random.Random(size), Transitions()
    candidates = [_candidate(number, transitions) for number in range(size)]
    pool = Pool(candidates, transitions, dice.random)
    verdicts = [dice.random() < refused for _ in range(choices)]
    now, unserved, started = 0.0, 0, time.process_time()
    for is_refused in verdicts:
        now += 0.001
        chosen = pool.choose(now, 1000)
        if chosen is None:
            unserved += 1
            continue
        health = chosen.health
        is_probe = health.started(now, 1000)
        if is_refused:
            health.throttled(now, 0.05, "status 429", is_probe=is_probe)
        else:
            health.answered(now, 0.1, is_probe=is_probe)
        health.finished(0.1)
    elapsed = time.process_time() - started
    return elapsed / (choices - unserved) * 1e6


def _candidate(number: int, transitions: Transitions) -> Candidate:
    name = f"b{number}"
    backend = Backend(
        backend_id=name,
        endpoint=f"https://{name}.invalid",
        upstream_deployment="d",
        model="m",
        region="swedencentral",
        weight=1 + number % 5,
    )
    return Candidate(backend, BackendHealth(name, transitions))


def _throughput(stack: ExitStack, requests: int, rounds: int) -> None:
    """The same upstream process behind one backend and behind five, so that nothing else differs."""
    port = free_port()
    stack.enter_context(process([sys.executable, "-m", "bench.upstream", str(port)], port))
    url = f"http://127.0.0.1:{port}"
    one = stack.enter_context(gateway("one backend", {"TALLYGATE_STORAGE": "memory"}, url))
    five = stack.enter_context(gateway("five backends", {"TALLYGATE_STORAGE": "memory"}, url))
    names = [f"region{number}" for number in range(5)]
    base = five.url.partition("/openai")[0]
    for name in names:
        backend = {"endpoint": f"{url}/{name}", "upstream_deployment": "gpt-4o", "model": "gpt-4o", "region": name}
        manage(base, five.admin_key, "PUT", f"/manage/backends/{name}", {**backend, "auth": "api_key"})
    manage(base, five.admin_key, "PUT", "/manage/deployments/gpt-4o", {"backends": names})
    rates, cpus = [], []
    for _ in range(rounds):
        (rate, cpu), (other_rate, other_cpu) = (_measured(target, requests) for target in (one, five))
        rates.append(other_rate / rate)
        cpus.append(other_cpu / cpu)
    print(f"\nfive healthy backends, {CLIENTS} clients (ratios to one backend, median of {rounds} rounds)")
    print(f"  requests a second x {median(rates):.2f}   CPU a request x {median(cpus):.2f}")


def _measured(target: Target, requests: int) -> tuple[float, float]:
    figures = asyncio.run(measure(with_new_tenant(target), CLIENTS, requests))
    return figures.requests_per_second, figures.cpu_ms


if __name__ == "__main__":
    sys.exit(main())
