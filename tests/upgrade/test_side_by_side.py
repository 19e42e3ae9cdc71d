"""The version before and this one serve one tenant on one lane together, while a deployment replaces instances."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.tools.stack import (
    ADMIN_KEY,
    CHAIN_KEY,
    HOST_KEY,
    PRIVACY_KEY,
    SIMULATOR_KEY,
    AzuriteAccount,
    Stack,
    await_port,
    configure,
    free_port,
    running_azurite,
    running_simulator,
)

ROOT = Path(__file__).resolve().parents[2]
PREDECESSOR = ROOT / "tests" / "corpus" / "predecessor" / "code.tar.xz"
SETTINGS = {
    "AUDIT_CHAIN_KEY": CHAIN_KEY,
    "ADMIN_API_KEY": ADMIN_KEY,
    "PRIVACY_KEY": PRIVACY_KEY,
    "AZURE_OPENAI_API_KEY": SIMULATOR_KEY,
    "ALLOW_LOOPBACK_BACKENDS": "true",
    "HOST_KEY": HOST_KEY,
}
REQUESTS = 20


@pytest.fixture(scope="session")
def predecessor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the version before, as a folder."""
    folder = tmp_path_factory.mktemp("predecessor")
    with tarfile.open(PREDECESSOR) as packed:
        packed.extractall(folder, filter="data")
    return folder


@pytest.fixture
def account(tmp_path: Path) -> Iterator[AzuriteAccount]:
    with running_azurite(tmp_path) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Version:
    """A running gateway of one version, and its code."""

    stack: Stack
    code: Path
    environment: dict[str, str]

    async def verify(self, period: str) -> tuple[int, str]:
        """Run the command `verify` of this version. Returns its exit status and what it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "shared.cli", "verify", "--period", period,
            cwd=self.code, env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        printed, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, printed.decode()

    async def chats(self, count: int) -> Counter[int]:
        """Send chats together. Returns the number of each status."""
        return Counter(status for status, _, _ in await asyncio.gather(*(self.stack.chat() for _ in range(count))))

    async def run_timer(self, name: str) -> None:
        """Start a timer by hand."""
        async with self.stack.session.post(f"{self.stack.url}/admin/functions/{name}", json={}) as response:
            assert response.status == 202


@asynccontextmanager
async def running(
    code: Path, account: AzuriteAccount, folder: Path, simulator: Any, url: str
) -> AsyncIterator[Version]:
    """Run a gateway of this code in a process of its own."""
    port = free_port()
    folder.mkdir()
    environment = {
        **os.environ,
        **SETTINGS,
        **account.settings,
        "TALLYGATE_PORT": str(port),
        "TALLYGATE_DATA": str(folder),
    }
    environment |= {"PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "local.functions_host"]
        process = subprocess.Popen(command, cwd=code, env=environment, stdout=log, stderr=log)
    try:
        await asyncio.to_thread(await_port, port, process)
        async with aiohttp.ClientSession(headers={"x-functions-key": HOST_KEY}) as session:
            stack = Stack(f"http://127.0.0.1:{port}", url, simulator, session, tenant="shared")
            yield Version(stack, code, environment)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
async def both(account: AzuriteAccount, predecessor: Path, tmp_path: Path) -> AsyncIterator[tuple[Version, Version]]:
    """The version before and this one, over one account. The first has configured it, and made a tenant."""
    async with running_simulator() as (simulator, url):
        async with running(predecessor, account, tmp_path / "old", simulator, url) as old:
            await configure(old.stack)
            old.stack.key = await old.stack.register("shared", lanes=1)
            async with running(ROOT, account, tmp_path / "new", simulator, url) as new:
                new.stack.key = old.stack.key
                yield old, new


async def test_both_versions_book_on_one_lane_and_both_verify_the_books(both: tuple[Version, Version]) -> None:
    old, new = both
    served = await asyncio.gather(old.chats(REQUESTS), new.chats(REQUESTS), old.chats(REQUESTS), new.chats(REQUESTS))
    assert sum(served, Counter()) == {200: 4 * REQUESTS}
    for version in both:
        entries = await version.stack.every_entry()
        charged = [each for each in entries if each["kind"] == "charge"]
        assert len({each["request_id"] for each in charged}) == len(charged) == 4 * REQUESTS
        assert (await version.stack.usage())["requests"] == 4 * REQUESTS
    period = (await new.stack.usage())["period"]
    for version in both:
        status, printed = await version.verify(period)
        assert status == 0, printed


async def test_the_quota_of_a_tenant_holds_over_both_versions(both: tuple[Version, Version]) -> None:
    old, new = both
    each_chat = 49
    await old.stack.manage("PATCH", "/manage/tenants/shared", {"monthly_quota_tokens": 40 * each_chat})
    for _ in range(60):
        await asyncio.gather(old.stack.chat(max_tokens=40), new.stack.chat(max_tokens=40))
    usage = await new.stack.usage()
    assert usage["tokens_used"] <= 40 * each_chat
    assert usage["requests"] >= 30
    assert (await new.stack.chat(max_tokens=40))[0] == 429
    assert (await old.stack.chat(max_tokens=40))[0] == 429


async def test_timers_of_one_version_work_on_what_the_other_wrote(both: tuple[Version, Version]) -> None:
    old, new = both
    await asyncio.gather(old.chats(5), new.chats(5))
    for version in (old, new, old, new):
        for timer in ("expire_reservations", "level_lanes", "roll_up_usage", "reconcile_limits", "chain_audit"):
            await version.run_timer(timer)
        await version.chats(3)
    usages = [await version.stack.usage() for version in both]
    assert [each["requests"] for each in usages] == [22, 22]
    assert usages[0]["total_cost_usd"] == usages[1]["total_cost_usd"]
    status, printed = await new.verify(usages[0]["period"])
    assert status == 0, printed


async def test_keys_tenants_and_backends_of_this_version_are_read_by_the_one_before(
    both: tuple[Version, Version],
) -> None:
    old, new = both
    key = await new.stack.register("later", monthly_budget_usd="5")
    await new.stack.backend("francecentral", "later")
    await new.stack.manage("PUT", "/manage/deployments/later", {"backends": ["later"]})
    await new.stack.manage("PATCH", "/manage/tenants/later", {"deployments": ["gpt-4o", "later"]})
    assert (await old.stack.chat(key=key))[0] == 200
    url = f"{old.stack.url}/openai/deployments/later/chat/completions?api-version=2024-10-21"
    assert (await old.stack.chat(key=key, url=url))[0] == 200
    assert {each["tenant_id"] for each in (await old.stack.manage("GET", "/manage/tenants"))["data"]} == {
        "shared",
        "later",
    }


async def test_a_change_by_the_version_before_is_seen_by_this_one(both: tuple[Version, Version]) -> None:
    # What only this version knows goes back to its default: docs/guide/deploy.md says not to change anything meanwhile
    old, new = both
    before = await new.stack.manage("GET", "/manage/tenants/shared")
    assert set(await old.stack.manage("GET", "/manage/tenants/shared")) <= set(before)
    await old.stack.manage("PATCH", "/manage/tenants/shared", {"cost_center": "CC-9"})
    assert await new.stack.manage("GET", "/manage/tenants/shared") == {**before, "cost_center": "CC-9"}


def test_the_predecessor_is_another_version(predecessor: Path) -> None:
    assert (predecessor / "function_app.py").read_text() != (ROOT / "function_app.py").read_text()
