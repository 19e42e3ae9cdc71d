"""The REST table store while the service is gone, refuses, or answers nonsense."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import aclosing
from datetime import UTC, datetime

import pytest
from aiohttp import web

from local.azurite_server import ACCOUNT
from shared.adapters.clock import StorageClock
from shared.adapters.identity.credentials import IdentityUnavailable
from shared.adapters.tables.rest_store import BearerToken, RestTableStore, SharedKey
from shared.adapters.tables.store import AnswerLost, Insert
from tests.tools.stack import AzuriteAccount, free_port

KEY = "d3Jvbmcta2V5"


async def all_calls_fail(store: RestTableStore) -> None:
    async with aclosing(store):
        for call in (
            store.create_table("t"),
            store.get("t", "p", "k"),
            store.submit("t", "p", [Insert("k", {})], "c"),
            _scan(store),
        ):
            with pytest.raises(AnswerLost):
                await call


async def _scan(store: RestTableStore) -> None:
    async for _ in store.scan("t", "p", "", "~"):
        pass


async def test_a_service_that_is_gone_gives_no_answer() -> None:
    await all_calls_fail(RestTableStore(f"http://127.0.0.1:{free_port()}/x", SharedKey("x", KEY)))


async def test_a_request_without_a_token_gets_no_answer() -> None:
    class NoTokens:
        async def token(self, scope: str, authority: str = "") -> str:
            raise IdentityUnavailable(scope + authority)

    await all_calls_fail(RestTableStore(f"http://127.0.0.1:{free_port()}/x", BearerToken(NoTokens())))


async def test_a_wrong_key_gives_no_answer_and_is_not_shown(azurite: AzuriteAccount) -> None:
    shared_key = SharedKey(ACCOUNT, KEY)
    await all_calls_fail(RestTableStore(azurite.table_endpoint, shared_key))
    assert KEY not in repr(shared_key)


@pytest.mark.parametrize("answer", ["cut", "slow", "500", "400"])
async def test_broken_answers_are_no_answers(answer: str) -> None:
    release = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        if answer == "slow":
            await release.wait()
        if answer == "cut":
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b"{")
            assert request.transport is not None
            request.transport.abort()
            return response
        return web.Response(status=int(answer) if answer.isdigit() else 200)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    store = RestTableStore(f"http://127.0.0.1:{port}/x", SharedKey("x", KEY), timeout_seconds=0.2)
    if answer == "400":
        async with aclosing(store):
            for call in (store.create_table("t"), store.get("t", "p", "k"), _scan(store)):
                with pytest.raises(AnswerLost):
                    await call
    else:
        await all_calls_fail(store)
    release.set()
    await runner.cleanup()


async def test_an_empty_page_with_a_continuation_is_not_the_end() -> None:
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.query.get("NextRowKey", ""))
        if not seen[-1]:
            return web.json_response({"value": []}, headers={"x-ms-continuation-NextRowKey": "1!8 x"})
        return web.json_response({"value": [{"PartitionKey": "p", "RowKey": "k"}]})

    app = web.Application()
    app.router.add_get("/{tail:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with aclosing(RestTableStore(f"http://127.0.0.1:{port}/x", SharedKey("x", KEY))) as store:
        assert [row.key async for row in store.scan("t", "p", "", "~")] == ["k"]
        assert await anext(store.partitions("t")) == "p"
    assert seen == ["", "1!8 x"] * 2
    await runner.cleanup()


def test_the_suite_runs_against_an_account_by_settings_alone(azurite: AzuriteAccount) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_"))}
    environment |= {
        "CONTRACT_TABLE_ENDPOINT": azurite.table_endpoint,
        "CONTRACT_ACCOUNT_NAME": ACCOUNT,
        "CONTRACT_ACCOUNT_KEY": azurite.key,
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--no-cov"]
    suites = [
        "tests/contract/ledger/test_ledger.py",
        "tests/contract/ledger/test_lanes.py",
        "tests/contract/ledger/test_rollups.py",
    ]
    run = subprocess.run(
        [*command, *suites, "-k", "account]"], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert " passed" in run.stdout


async def test_the_store_passes_the_time_of_storage_to_the_clock(azurite: AzuriteAccount) -> None:
    class Behind(StorageClock):
        def _machine_time(self) -> float:
            return super()._machine_time() - 600

    clock = Behind()
    async with aclosing(RestTableStore(azurite.table_endpoint, SharedKey(ACCOUNT, azurite.key), clock=clock)) as store:
        await store.create_table("told")
    assert abs((clock.now() - datetime.now(UTC)).total_seconds()) < 5
