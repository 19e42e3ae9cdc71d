"""`python -m bench.fairness`: one tenant's requests while another tenant does its worst.

The other tenant holds thousands of slow streams, or sends the largest bodies that it may, of the smallest elements.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from statistics import median

import aiohttp

from bench.load import Figures, Target, measure
from bench.processes import fast_upstream, free_port, gateway, with_new_tenant

CLIENTS = 4
OPENING = 100
"""Streams that are opened at the same time."""
ALIVE_MS = 100
_EVENTS = 100_000
_QUESTION = {"role": "user", "content": "Hello!"}
_TINY = b'{"messages":[' + b'{"role":"user","content":""},' * 700_000 + b'{"role":"user","content":"a"}]}'


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fairness")
    parser.add_argument("--streams", type=int, default=5000, help="streams that the other tenant holds")
    parser.add_argument("--pace-ms", type=int, default=4000, help="between two events of each stream")
    parser.add_argument("--requests", type=int, default=400, help="requests a measurement")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; the median counts")
    parser.add_argument("--send", nargs=2, metavar=("URL", "KEY"), help="only send bodies, for another process")
    parser.add_argument("--hold", nargs=2, metavar=("URL", "KEY"), help="only hold the streams, for another process")
    options = parser.parse_args()
    if options.hold:
        url, key = options.hold
        asyncio.run(_hold(url, key, options.streams, options.pace_ms))
        return 0
    if options.send:
        url, key = options.send
        asyncio.run(_send(url, key))
        return 0
    port = free_port()
    upstream = f"http://127.0.0.1:{port}"
    with fast_upstream(port) as answering, gateway("in memory", {"TALLYGATE_STORAGE": "memory"}, upstream) as target:
        alone, alive = asyncio.run(_rounds(target, options.requests, options.rounds))
        _print("alone", alone, alone, alive)
        with _streams(with_new_tenant(target), options.streams, options.pace_ms) as held:
            beside, alive = asyncio.run(_rounds(target, options.requests, options.rounds))
        _print(f"beside {held} slow streams", beside, alone, alive)
        with _bodies(with_new_tenant(target)):
            beside, alive = asyncio.run(_rounds(target, options.requests, options.rounds))
        _print(f"beside bodies of {len(_TINY) >> 20} MiB", beside, alone, alive)
        answering.kill()  # it would go on with the streams
    return 0


async def _rounds(target: Target, requests: int, rounds: int) -> tuple[list[Figures], float]:
    """Measure a tenant's requests, and the slowest answer of `/healthz` meanwhile, in milliseconds."""
    async with _alive(target) as waits:
        taken = [
            await measure(await asyncio.to_thread(with_new_tenant, target), CLIENTS, requests) for _ in range(rounds)
        ]
    return taken, max(waits)


@asynccontextmanager
async def _alive(target: Target) -> AsyncIterator[list[float]]:
    """Ask `/healthz` a hundred times a second, and collect how long each answer took."""
    url, waits = f"{target.url.partition('/openai')[0]}/healthz", list[float]()

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                started = time.perf_counter()
                async with session.get(url) as response:
                    await response.read()
                waits.append((time.perf_counter() - started) * 1000)
                await asyncio.sleep(0.01)

    asking = asyncio.create_task(ask())
    try:
        yield waits
    finally:
        asking.cancel()
        await asyncio.wait([asking])


async def _send(url: str, key: str) -> None:
    """Send bodies until the process is ended. Prints a line once one was answered."""
    headers = {"api-key": key, "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for number in itertools.count():
            async with session.post(url, data=io.BytesIO(_TINY)) as response:
                await response.read()
            if number == 0:
                print(response.status, flush=True)


@contextmanager
def _streams(hostile: Target, streams: int, pace_ms: int) -> Iterator[int]:
    """Hold streams from a process of its own, so that its work does not delay the clients that are measured."""
    command = [sys.executable, "-m", "bench.fairness", "--hold", hostile.url, hostile.key]
    command += ["--streams", str(streams), "--pace-ms", str(pace_ms)]
    with _begun(command) as line:
        yield int(line)


def _bodies(hostile: Target) -> AbstractContextManager[bytes]:
    """Send large bodies, one after the other, from a process of its own."""
    return _begun([sys.executable, "-m", "bench.fairness", "--send", hostile.url, hostile.key])


@contextmanager
def _begun(command: list[str]) -> Iterator[bytes]:
    """Run a command, and wait for its first line."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        yield child.stdout.readline()
    finally:
        child.terminate()
        child.wait()


async def _hold(url: str, key: str, streams: int, pace_ms: int) -> None:
    """Open the streams, print how many are open, and read them until the process is ended."""
    body = {"messages": [_QUESTION], "stream": True, "max_tokens": _EVENTS, "metadata": {"pace_ms": str(pace_ms)}}
    encoded = json.dumps(body, separators=(",", ":")).encode()
    opening, are_open, opened = asyncio.Semaphore(OPENING), asyncio.Event(), 0
    headers = {"api-key": key, "content-type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:

        async def stream() -> None:
            nonlocal opened
            await opening.acquire()
            async with session.post(url, data=encoded) as response:
                response.raise_for_status()
                opening.release()
                opened += 1
                if opened == streams:
                    are_open.set()
                async for _ in response.content.iter_any():
                    pass

        reading = [asyncio.create_task(stream()) for _ in range(streams)]
        await are_open.wait()
        print(opened, flush=True)
        await asyncio.gather(*reading)


def _print(name: str, taken: list[Figures], alone: list[Figures], alive_ms: float) -> None:
    p50, p99 = (median(getattr(each, which) for each in taken) for which in ("p50_ms", "p99_ms"))
    own50, own99 = (median(getattr(each, which) for each in alone) for which in ("p50_ms", "p99_ms"))
    print(
        f"  {name:32} p50 {p50:6.1f} ms x {p50 / own50:5.2f}   p99 {p99:6.1f} ms x {p99 / own99:5.2f}   "
        f"slowest /healthz {alive_ms:6.1f} ms{'' if alive_ms <= ALIVE_MS else f' (over {ALIVE_MS})'}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
