"""`python -m tests.proof.soak --seconds 600`: real gateways, real Azurite, a failing proxy, kills and freezes.

Clocks are skewed by up to three seconds. The tenant is hot at first and cold later. The month ends in the middle.
Gateways are frozen for 5 to 150 s, but no longer than a third of the run. An administrator changes the tenant's quota
every second, through any gateway. Hostile callers of another tenant attack all the time.
Prints the evidence at the end. Exits with 1 in these cases:

- an acknowledged request is not booked exactly once;
- a limit was exceeded;
- an invariant is violated;
- the books, recomputed by a script that knows nothing of the gateway, differ;
- a hostile caller was answered by an internal error, or was served what must be refused;
- one of the two months saw no request.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from shared.domain.identifiers import BillingPeriod
from tests.e2e.test_local_run import Api, Run
from tests.proof.hostile_callers import DEPLOYMENT, PATIENCE_SECONDS, HostileCallers
from tests.proof.soak_fleet import Fleet, freezes
from tests.tools.fault_proxy import FaultProxy

CLIENTS = 24
_PATIENCE = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
_TERMINAL = ("charge", "expire")


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
                hostile_key = await api.tenant(
                    "hostile", deployments=["gpt-4o", DEPLOYMENT], monthly_quota_tokens=10**9
                )
                await asyncio.gather(*(fleet.start() for _ in range(gateways)))
                hostile = HostileCallers(session, document["simulator_url"], hostile_key, fleet.any_url, seed)
                administrator = Administrator(api, fleet, quota, dice)
                around = [hostile.run(), administrator.run(), _freeze(fleet, freezes(seconds)), _sweep(fleet, api)]
                answers = await _load(fleet, api, key, ends, seconds, kill_every, around)
                proxy.rate = 0.0
                await fleet.stop()
                await administrator.set_quota(quota)
                await _expire_the_rest(fleet, api, document["table_endpoint"])
                periods = [str(month), str(month.next())]
                print(f"freezes of {fleet.freezes} s; quota changes by status {dict(administrator.answers)}")
                print(f"hostile callers by attack and status {dict(sorted(hostile.answers.items()))}")
                print(*hostile.defects, sep="\n", end="\n" if hostile.defects else "")
                wrong = await _judge(api, periods, answers, fleet, proxy, quota)
                return wrong + len(hostile.defects) + (not fleet.freezes) + await _recomputed(document, periods)
        finally:
            run.stop()


class Administrator:
    """Changes the quota every second, through any gateway, and never above `quota`."""

    def __init__(self, api: Api, fleet: Fleet, quota: int, dice: random.Random) -> None:
        self._api = api
        self._fleet = fleet
        self._quota = quota
        self._dice = dice
        self.answers: Counter[int] = Counter()
        """By status; 0 if the gateway died or froze meanwhile."""

    async def run(self) -> None:
        """Change the quota until cancelled."""
        headers = {"api-key": self._api.document["admin_key"]}
        while True:
            await asyncio.sleep(1)
            body = {"monthly_quota_tokens": self._quota * self._dice.choice((2, 3, 4)) // 4}
            url = self._dice.choice((self._api.document["url"], self._fleet.any_url()))
            request = self._api.session.patch(
                f"{url}/manage/tenants/soak", json=body, headers=headers, timeout=_PATIENCE
            )
            try:
                async with request as response:
                    self.answers[response.status] += 1
            except (aiohttp.ClientError, TimeoutError):
                self.answers[0] += 1

    async def set_quota(self, quota: int) -> None:
        """Set the quota for good, through a gateway that nothing disturbs."""
        await self._api.manage("PATCH", "/manage/tenants/soak", {"monthly_quota_tokens": quota})


async def _freeze(fleet: Fleet, lengths: list[float]) -> None:
    """Freeze one gateway after the other."""
    while True:
        for seconds in lengths:
            await asyncio.sleep(1)
            await fleet.freeze_one(seconds)


async def _sweep(fleet: Fleet, api: Api) -> None:
    """Run the timers by hand: of all processes over a data folder only one runs them, and that has another clock."""
    while True:
        await asyncio.sleep(5)
        for name in ("expire_reservations", "level_lanes", "reconcile_limits", "roll_up_usage"):
            url = f"{fleet.any_url()}/admin/functions/{name}"
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, asyncio.TimeoutError):
                headers = {"x-functions-key": api.document["host_key"]}
                await (await api.session.post(url, json={}, headers=headers, timeout=_PATIENCE)).release()


async def _load(
    fleet: Fleet,
    api: Api,
    key: str,
    month_ends: datetime,
    seconds: float,
    kill_every: float,
    around: list[Coroutine[Any, Any, None]],
) -> list[tuple[int, str]]:
    """Chats until the month ends, and for half of the seconds after that. Everything of `around` runs meanwhile."""
    answers: list[tuple[int, str]] = []
    ends = asyncio.Event()

    async def client(number: int) -> None:
        while not ends.is_set():
            chat = api.chat(fleet.any_url(), key, f"Client {number}", stream=number % 3 == 0)
            try:
                answers.append(await asyncio.wait_for(chat, PATIENCE_SECONDS))
            except TimeoutError:
                answers.append((0, ""))
            await asyncio.sleep(0.01 if answers[-1][0] == 200 else 0.2)

    async def killer() -> None:
        while True:
            await asyncio.sleep(kill_every)
            await fleet.kill_one()

    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    disturbing = [asyncio.create_task(each) for each in (killer(), *around)]
    await asyncio.sleep((month_ends - datetime.now(UTC)).total_seconds())
    await api.manage("PATCH", "/manage/tenants/soak", {"lanes": 1})
    await asyncio.sleep(seconds / 2)
    ends.set()
    await _end(disturbing)
    await asyncio.wait(clients)
    return answers


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks that run for ever. Raises the error of one that has failed before."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(result, asyncio.CancelledError):
            raise AssertionError(f"something that disturbs the fleet has ended: {result!r}")


async def _recomputed(document: dict[str, Any], periods: list[str]) -> int:
    """Recompute the books by the script that knows nothing of the gateway. Returns 1 if they differ."""
    environment = {**os.environ, **document["gateway_env"]}
    command = [sys.executable, "-m", "tests.adversary.recompute"]
    for period in periods:
        command += ["--period", period]
    ended = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, check=False
    )
    print((ended.stdout + ended.stderr).rstrip())
    return int(ended.returncode != 0)


async def _expire_the_rest(fleet: Fleet, api: Api, table_endpoint: str) -> None:
    """Expire all reservations of both months, by a gateway whose clock says that their deadlines are past.

    It also opens the new month for the tenant that nobody used.
    """
    url = await fleet.start(endpoint=table_endpoint, later=3600)
    host = {"x-functions-key": api.document["host_key"]}
    await api.session.post(f"{url}/admin/functions/reset_monthly_quotas", json={}, headers=host)
    for _ in range(600):
        await api.session.post(f"{url}/admin/functions/expire_reservations", json={}, headers=host)
        await api.session.post(f"{url}/admin/functions/level_lanes", json={}, headers=host)
        await api.session.post(f"{url}/admin/functions/roll_up_usage", json={}, headers=host)
        reserved = [
            (await api.manage("GET", f"/manage/tenants/{tenant}/usage?period={period}"))["tokens_reserved"]
            for tenant in ("soak", "hostile")
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
    periods: list[str],
    answers: list[tuple[int, str]],
    fleet: Fleet,
    proxy: FaultProxy,
    quota: int,
) -> int:
    booked: dict[str, list[str]] = defaultdict(list)
    kinds: Counter[str] = Counter()
    wrong = 0
    print(f"requests {len(answers)}, by status {dict(sorted(Counter(status for status, _ in answers).items()))}")
    print(f"kills {fleet.kills}; storage requests {proxy.requests}, faults {dict(proxy.by_kind)}")
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
        checked = await asyncio.to_thread(fleet.verify, period)
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
