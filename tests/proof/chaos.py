"""`python -m tests.proof.chaos --seconds 60`: random faults over five regions under 32 clients of two tenants.

At every moment up to three regions fail in some way. One region that may process the data of both tenants has been
well for a second. So every request must be answered. Prints the evidence at the end. Exits with 1 in these cases:

- a request failed that some backend could serve;
- an attempt left the tenant's residency;
- the books disagree.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.tools.books import disagreements
from tests.tools.stack import REGIONS, Stack, running_azurite, running_stack

CLIENTS = 32
MOST_DOWN = 3
STEP_SECONDS = 1.1
EUROPE = [region for region, zone in REGIONS.items() if zone == "eu"]
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 408},
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 429, "headers": {"retry-after-ms": "300"}},
    {"kind": "refuse"},
    {"kind": "hang"},
    {"kind": "slow", "delay_ms": 200},
    {"kind": "break"},
)
SETTINGS = {"BACKEND_HEAD_TIMEOUT_SECONDS": "0.4"}


@dataclass
class Evidence:
    """The answers and the faults of a run."""

    statuses: Counter[int] = field(default_factory=Counter)
    broken_streams: int = 0
    attempts: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        return [
            f"requests by status: {dict(self.statuses)}; by attempts: {dict(sorted(self.attempts.items()))}",
            f"streams that broke after their first byte, told in band: {self.broken_streams}",
            f"steps with faults by kind: {dict(self.faults)}",
            *(f"PROBLEM: {problem}" for problem in self.problems[:20]),
            "no request was dropped, no data left its zone, and the books agree" if not self.problems else "FAILED",
        ]


async def run(stack: Stack, seconds: float, dice: random.Random) -> Evidence:
    """Run the clients of two tenants. Data of the first may go anywhere, data of the second stays in Europe."""
    evidence, europeans = Evidence(), f"{stack.tenant}-eu"
    await stack.pool(*REGIONS)
    keys = {
        stack.tenant: stack.key,
        europeans: await stack.register(europeans, deployments=["gpt-4o"], residency={"zones": ["eu"]}),
    }
    ended = asyncio.Event()
    clients = [asyncio.create_task(_client(stack, evidence, keys, ended, number)) for number in range(CLIENTS)]
    deadline = asyncio.get_running_loop().time() + seconds
    well = dice.choice(EUROPE)
    while asyncio.get_running_loop().time() < deadline:
        well = await _step(stack, evidence, well, dice)
        await asyncio.sleep(STEP_SECONDS)
    ended.set()
    await asyncio.gather(*clients)
    await stack.release_faults()
    await stack.settled()
    for tenant in keys:
        await _check(stack, evidence, tenant)
    return evidence


async def _step(stack: Stack, evidence: Evidence, well: str, dice: random.Random) -> str:
    """Change the faults. Returns the European region that will be well in the next step, too."""
    next_well = dice.choice(EUROPE)
    others = [region for region in REGIONS if region not in (well, next_well)]
    await stack.release_faults()
    for region in dice.sample(others, dice.randint(1, min(MOST_DOWN, len(others)))):
        fault = dice.choice(FAULTS)
        evidence.faults[fault["kind"]] += 1
        await stack.fault(**fault, region=region, count=None)
    return next_well


async def _client(stack: Stack, evidence: Evidence, keys: dict[str, str], ended: asyncio.Event, number: int) -> None:
    tenant = [*keys][number % 2]
    is_streaming = number % 4 > 1
    while not ended.is_set():
        status, headers, answer = await stack.chat("Hello!", key=keys[tenant], stream=is_streaming, user=tenant)
        evidence.statuses[status] += 1
        evidence.attempts[int(headers.get("x-gateway-attempts", 0))] += 1
        if status != 200:
            evidence.problems.append(f"{tenant} was answered {status}: {answer}")
        elif is_streaming and b'"error"' in answer:
            evidence.broken_streams += 1


async def _check(stack: Stack, evidence: Evidence, tenant: str) -> None:
    gateway = await stack.gateway()
    usage = await stack.usage(tenant)
    if usage["tokens_reserved"]:
        evidence.problems.append(f"{usage['tokens_reserved']} tokens of {tenant} are still held")
    await gateway.ledger.roll_up_usage()
    findings = [found async for _, found in gateway.ledger.verify(usage["period"], tenant)]
    evidence.problems += [f"{tenant}: {finding}" for found in findings for finding in found]
    entries, records = (
        await stack.every_entry(tenant),
        [record for record in await stack.requests() if record["body"] and record["body"].get("user") == tenant],
    )
    evidence.problems += [f"{tenant}: {problem}" for problem in disagreements(entries, records)]
    for entry in entries:
        if tenant != stack.tenant and entry["processed_in"] not in EUROPE:
            evidence.problems.append(f"an entry of {tenant} was processed in {entry['processed_in']}")
    elsewhere = {record["region"] for record in records} - set(EUROPE)
    if tenant != stack.tenant and elsewhere:
        evidence.problems.append(f"requests of {tenant} went to {elsewhere}")


async def _main(seconds: float, seed: int) -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as environment,
        running_azurite(Path(folder)) as azurite,
    ):
        async with running_stack(environment, Path(folder), {**azurite.settings, **SETTINGS}) as stack:
            evidence = await run(stack, seconds, random.Random(seed))
    print(f"seed {seed}", *evidence.lines(), sep="\n")
    return 1 if evidence.problems else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.chaos")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    return asyncio.run(_main(options.seconds, options.seed))


if __name__ == "__main__":
    sys.exit(main())
