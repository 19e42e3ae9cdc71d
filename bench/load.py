"""Load on one target, and what it cost: the target's CPU from the kernel, latency from the client."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers chat completions; `pid` is whose CPU is counted."""

    name: str
    url: str
    pid: int
    key: str = "bench"
    admin_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Figures:
    requests_per_second: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float


def median_of(figures: list[Figures]) -> Figures:
    """The median of each figure over the rounds: on a shared machine the best and the worst are luck."""
    return Figures(*(statistics.median(getattr(each, name) for each in figures) for name in Figures.__slots__))


def cpu_seconds(pid: int) -> float:
    """Time on CPU of all threads of a process, in nanosecond resolution."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def memory_mib(pid: int, which: str = "VmRSS") -> float:
    """Resident memory of a process, or with `VmHWM` the most that it ever was."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(which)).split()[1]) / 1024


_SENTENCE = "How many tokens are in this sentence?"
CHAT = "chat/completions"
_BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": _SENTENCE}]},
    "embeddings": {"input": [_SENTENCE] * 4},
    "responses": {"model": "gpt-4o", "input": _SENTENCE, "max_output_tokens": 100},
}


async def measure(
    target: Target,
    clients: int,
    requests: int,
    *,
    events: int = 0,
    pace_ms: int = 0,
    operation: str = CHAT,
) -> Figures:
    """Send `requests` from `clients` at once, after a warm-up, and require that each is answered 200.

    With `events` the answers are streams of so many, else they are buffered. With `pace_ms` each event comes so long
    after the one before, as from a model; else they come in a heap.
    """
    async with calling(target, clients, events=events, pace_ms=pace_ms, operation=operation) as measured:
        return await measured(requests)


@asynccontextmanager
async def calling(
    target: Target, clients: int, *, events: int = 0, pace_ms: int = 0, operation: str = CHAT
) -> AsyncIterator[Callable[[int], Awaitable[Figures]]]:
    """Clients of a target after a warm-up. They keep their connections from one measurement to the next."""
    body, at_once = _bodies(operation, events, pace_ms)
    headers = {"api-key": target.key, "content-type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

        async def measured(requests: int, sent: bytes = body) -> Figures:
            cpu, started, latencies = cpu_seconds(target.pid), time.perf_counter(), []
            calls = (_call(session, target, _url(target, operation), sent, requests // clients) for _ in range(clients))
            for taken in await asyncio.gather(*calls):
                latencies += taken
            return _figures(latencies, time.perf_counter() - started, cpu_seconds(target.pid) - cpu)

        await measured(3 * clients, at_once)
        yield measured


async def _call(session: aiohttp.ClientSession, target: Target, url: str, body: bytes, count: int) -> list[float]:
    """Latencies in seconds of so many requests, one after the other."""
    latencies: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        async with session.post(url, data=body) as response:
            answer = await response.read()
            if response.status != 200:
                raise RuntimeError(f"{target.name} answered {response.status}: {answer[:300]!r}")
        latencies.append(time.perf_counter() - started)
    return latencies


def _figures(latencies: list[float], elapsed: float, cpu: float) -> Figures:
    done = len(latencies)
    latencies.sort()
    p50, p99 = (latencies[int(share * (done - 1))] * 1000 for share in (0.5, 0.99))
    return Figures(done / elapsed, cpu / done * 1000, p50, p99)


def _bodies(operation: str, events: int, pace_ms: int) -> tuple[bytes, bytes]:
    """The body that is measured, and the same without a pace for the warm-up."""
    fields = dict(_BODIES[operation])
    if operation == CHAT:
        fields["max_tokens"] = events or 100
    if events:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    paced = {**fields, "metadata": {"pace_ms": str(pace_ms)}} if pace_ms else fields
    return _encoded(paced), _encoded(fields)


def _encoded(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _url(target: Target, operation: str) -> str:
    """Where a target has an operation; responses are not under a deployment."""
    if operation == "responses":
        return f"{target.url.partition('/openai')[0]}/openai/v1/responses"
    return target.url.replace(CHAT, operation)
