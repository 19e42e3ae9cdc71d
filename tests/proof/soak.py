"""`python -m tests.proof.soak --seconds 600`: real gateways, real Azurite, a failing proxy, kills.

Clocks are skewed by up to three seconds. The tenant is hot at first and cold later. The month ends in the middle.
Prints the evidence at the end. Exits with 1 in these cases:

- an acknowledged request is not booked exactly once;
- a limit was exceeded;
- an invariant is violated;
- one of the two months saw no request.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from shared.domain.identifiers import BillingPeriod
from tests.e2e.test_local_run import Api, Run, verify
from tests.tools.fault_proxy import FaultProxy
from tests.tools.stack import await_port, free_port

CLIENTS = 24
_TERMINAL = ("charge", "expire")


class Fleet:
    """Gateways that are killed and replaced."""

    def __init__(self, document: dict[str, Any], table_endpoint: str, offset: float, dice: random.Random) -> None:
        self._document = document
        self._table_endpoint = table_endpoint
        self._offset = offset
        self._dice = dice
        self.running: list[tuple[subprocess.Popen[bytes], str]] = []
        self.kills = 0

    async def start(self, *, endpoint: str | None = None, later: float = 0.0) -> str:
        """Start one more gateway. `later` moves its clock forward."""
        port = free_port()
        environment = {
            **os.environ,
            **self._document["gateway_env"],
            "TALLYGATE_PORT": str(port),
            "TALLYGATE_TABLE_ENDPOINT": endpoint or self._table_endpoint,
            "AHEAD_SECONDS": str(self._offset + later),
            "SKEW_SECONDS": str(self._dice.uniform(-3, 3)),
        }
        command = [self._document["gateway_command"][0], "-m", "tests.tools.skewed_host"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        self.running.append((process, url))
        await asyncio.to_thread(await_port, port, process)
        return url

    async def kill_one(self) -> None:
        """Kill a gateway with `kill -9`, and start another in its place."""
        process, _ = self.running.pop(self._dice.randrange(len(self.running)))
        process.kill()
        process.wait()
        self.kills += 1
        await self.start()

    def any_url(self) -> str:
        return self._dice.choice(self.running)[1]

    async def stop(self) -> None:
        """End all gateways after their commits."""
        for process, _ in self.running:
            process.terminate()
        for process, _ in self.running:
            await asyncio.to_thread(process.wait)
        self.running.clear()


async def soak(seconds: float, gateways: int, kill_every: float, fault_rate: float, quota: int, seed: int) -> int:
    """Run the soak and print the evidence. Returns the number of violations."""
    dice = random.Random(seed)
    now = datetime.now(UTC)
    month = BillingPeriod.containing(now)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "data")
        document = run.start()
        # The fleet starts in less time than that took, however busy the machine is.
        start_seconds = (datetime.now(UTC) - now).total_seconds()
        ends = datetime.now(UTC) + timedelta(seconds=start_seconds + seconds / 2)
        offset = (month.end - ends).total_seconds()
        try:
            target = document["table_endpoint"].rpartition("/")
            async with FaultProxy(target[0], fault_rate, seed) as proxy, aiohttp.ClientSession() as session:
                fleet = Fleet(document, f"{proxy.url}/{target[2]}", offset, dice)
                api = Api(session, document)
                key = await api.tenant("soak", monthly_quota_tokens=quota, expiry_policy="full", lanes=3)
                await asyncio.gather(*(fleet.start() for _ in range(gateways)))
                answers = await _load(fleet, api, key, ends, seconds, kill_every)
                proxy.rate = 0.0
                await fleet.stop()
                await _expire_the_rest(fleet, api, document["table_endpoint"])
                periods = [str(month), str(month.next())]
                return await _judge(api, document, periods, answers, fleet.kills, proxy, quota)
        finally:
            run.stop()


async def _load(
    fleet: Fleet, api: Api, key: str, month_ends: datetime, seconds: float, kill_every: float
) -> list[tuple[int, str]]:
    """Chats until the month ends, and for half of the seconds after that."""
    answers: list[tuple[int, str]] = []
    ends = asyncio.Event()

    async def client(number: int) -> None:
        while not ends.is_set():
            answers.append(await api.chat(fleet.any_url(), key, f"Client {number}", stream=number % 3 == 0))
            await asyncio.sleep(0.01 if answers[-1][0] == 200 else 0.2)

    async def killer() -> None:
        while True:
            await asyncio.sleep(kill_every)
            await fleet.kill_one()

    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    killing = asyncio.create_task(killer())
    await asyncio.sleep((month_ends - datetime.now(UTC)).total_seconds())
    await api.manage("PATCH", "/manage/tenants/soak", {"lanes": 1})
    await asyncio.sleep(seconds / 2)
    ends.set()
    killing.cancel()
    await asyncio.wait([killing, *clients])
    return answers


async def _expire_the_rest(fleet: Fleet, api: Api, table_endpoint: str) -> None:
    """Expire all reservations of both months, by a gateway whose clock says that their deadlines are past."""
    url = await fleet.start(endpoint=table_endpoint, later=3600)
    host = {"x-functions-key": api.document["host_key"]}
    for _ in range(600):
        await api.session.post(f"{url}/admin/functions/expire_reservations", json={}, headers=host)
        await api.session.post(f"{url}/admin/functions/level_lanes", json={}, headers=host)
        await api.session.post(f"{url}/admin/functions/roll_up_usage", json={}, headers=host)
        reserved = [
            (await api.manage("GET", f"/manage/tenants/soak/usage?period={period}"))["tokens_reserved"]
            for period in _periods()
        ]
        if not any(reserved):
            break
        await asyncio.sleep(0.2)
    await fleet.stop()


def _periods() -> list[str]:
    month = BillingPeriod.containing(datetime.now(UTC))
    return [str(month), str(month.next())]


async def _judge(
    api: Api,
    document: dict[str, Any],
    periods: list[str],
    answers: list[tuple[int, str]],
    kills: int,
    proxy: FaultProxy,
    quota: int,
) -> int:
    booked: dict[str, list[str]] = defaultdict(list)
    kinds: Counter[str] = Counter()
    wrong = 0
    print(f"requests {len(answers)}, by status {dict(sorted(Counter(status for status, _ in answers).items()))}")
    print(f"kills {kills}; storage requests {proxy.requests}, faults {dict(proxy.by_kind)}")
    for period in periods:
        usage = await api.manage("GET", f"/manage/tenants/soak/usage?period={period}")
        for entry in await api.entries("soak", period):
            kinds[entry["kind"]] += 1
            if entry.get("request_id"):
                booked[entry["request_id"]].append(entry["kind"])
        overshoot = max(0, usage["tokens_used"] - quota)
        wrong += bool(overshoot) + bool(usage["tokens_reserved"]) + (not usage["requests"])
        print(
            f"{period}: {usage['tokens_used']} of {quota} tokens used, overshoot {overshoot}, "
            f"{usage['tokens_reserved']} still reserved, {usage['requests']} attempts"
        )
        checked = await asyncio.to_thread(verify, document, period)
        print(checked.stdout.rstrip())
        wrong += checked.returncode != 0
    print(f"entries {dict(kinds)}")
    acknowledged = [request_id for status, request_id in answers if status == 200]
    amiss = [each for each in acknowledged if sum(kind in _TERMINAL for kind in booked[each]) != 1]
    print(f"acknowledged settlements {len(acknowledged)}, present exactly once {len(acknowledged) - len(amiss)}")
    return wrong + len(amiss)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.soak")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--gateways", type=int, default=2)
    parser.add_argument("--kill-every", type=float, default=4, help="seconds between kills")
    parser.add_argument("--fault-rate", type=float, default=0.05, help="share of storage requests that suffer a fault")
    parser.add_argument("--quota", type=int, default=20_000, help="tokens that the tenant has in each month")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong = asyncio.run(
        soak(options.seconds, options.gateways, options.kill_every, options.fault_rate, options.quota, options.seed)
    )
    print("nothing is wrong" if not wrong else f"{wrong} things are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
