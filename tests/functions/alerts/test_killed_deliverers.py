"""Processes that deliver alerts over Azurite: killed between sending and noting, and several at once."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.tools.alert_receivers import SIGNING_SECRET, Receiver, alert_now, running_receiver
from tests.tools.stack import AzuriteAccount, Stack, running_azurite

ROOT = Path(__file__).resolve().parents[3]
WEBHOOK = {"type": "webhook", "address_secret": "address", "signing_secret": "key"}
LEASE_OVER = "200"


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteAccount]:
    """An Azurite for this module alone, because a deliverer serves every sink that there is."""
    with running_azurite(tmp_path_factory.mktemp("azurite")) as account:
        yield account


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        monkeypatch.setenv("ALERT_SECRETS", json.dumps({"address": running.url, "key": SIGNING_SECRET}))
        yield running


async def deliverer(ahead_seconds: str = "0") -> asyncio.subprocess.Process:
    environment = {**os.environ, "AHEAD_SECONDS": ahead_seconds}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.tools.alert_deliverer", cwd=ROOT, env=environment
    )


async def sink_and_alerts(stack: Stack, *names: str) -> None:
    """Put a sink of the tenant, and raise alerts about it."""
    gateway = await stack.gateway()
    await stack.manage("PUT", f"/manage/tenants/{stack.tenant}/alerts/sinks/ops", WEBHOOK)
    for name in names:
        assert await gateway.alerts.store(alert_now(f"{stack.tenant}:{name}", tenant=stack.tenant))


async def test_an_alert_whose_process_is_killed_after_sending_is_sent_again_with_the_same_id(
    receiver: Receiver, stack_on_tables: Stack
) -> None:
    stack = stack_on_tables
    await sink_and_alerts(stack, "one")
    stalled = asyncio.Event()

    async def stall(_: web.Request) -> web.Response:
        await stalled.wait()
        return web.Response()

    receiver.answer = stall
    killed = await deliverer()
    await receiver.arrived.wait()
    killed.kill()
    await killed.wait()
    stalled.set()
    receiver.answer = None
    assert await (await deliverer()).wait() == 0  # the lease of the dead process holds
    assert receiver.ids == [f"{stack.tenant}:one"]
    assert await (await deliverer(LEASE_OVER)).wait() == 0
    assert receiver.ids == [f"{stack.tenant}:one"] * 2
    assert receiver.arrivals[0].body == receiver.arrivals[1].body
    assert await (await deliverer(LEASE_OVER)).wait() == 0
    assert len(receiver.arrivals) == 2


async def test_processes_that_run_at_once_deliver_each_alert_once(receiver: Receiver, stack_on_tables: Stack) -> None:
    stack = stack_on_tables
    names = [f"n{number}" for number in range(8)]
    await sink_and_alerts(stack, *names)
    running = [await deliverer() for _ in range(2)]
    assert [await each.wait() for each in running] == [0, 0]
    assert await (await deliverer()).wait() == 0
    assert Counter(receiver.ids) == Counter(f"{stack.tenant}:{name}" for name in names)
