"""Load on one target, and what it cost: the target's CPU from the kernel, latency from the client."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

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


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


async def measure(target: Target, clients: int, requests: int, *, events: int = 0) -> Figures:
    """Send `requests` from `clients` at once, after a warm-up, and require that each is answered 200.

    With `events` the answers are streams of so many, else they are buffered.
    """
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": "How many tokens are in this sentence?"}],
            "max_tokens": events or 100,
        }
        | ({"stream": True, "stream_options": {"include_usage": True}} if events else {}),
        separators=(",", ":"),
    ).encode()
    headers = {"api-key": target.key, "content-type": "application/json"}
    latencies: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work(count: int) -> None:
            for _ in range(count):
                started = time.perf_counter()
                async with session.post(target.url, data=body, headers=headers) as response:
                    answer = await response.read()
                    if response.status != 200:
                        raise RuntimeError(f"{target.name} answered {response.status}: {answer[:300]!r}")
                latencies.append(time.perf_counter() - started)

        await asyncio.gather(*(work(3) for _ in range(clients)))
        latencies.clear()
        cpu, started = cpu_seconds(target.pid), time.perf_counter()
        await asyncio.gather(*(work(requests // clients) for _ in range(clients)))
        elapsed, cpu = time.perf_counter() - started, cpu_seconds(target.pid) - cpu
    done = len(latencies)
    latencies.sort()
    p50, p99 = (latencies[int(share * (done - 1))] * 1000 for share in (0.5, 0.99))
    return Figures(done / elapsed, cpu / done * 1000, p50, p99)
