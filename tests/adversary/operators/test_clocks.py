"""A machine whose clock is wrong: its first request and its first timer use the time of storage already."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.adapters.clock import StorageClock
from shared.composition.gateway import build
from shared.domain.errors import NotFound, StorageUnavailable
from shared.domain.identifiers import BillingPeriod
from shared.settings import read_settings
from tests.tools.fault_proxy import FaultProxy
from tests.tools.later_hosts import later_hosts
from tests.tools.stack import AzuriteAccount, Stack, running_azurite

SKEW_SECONDS = 40 * 86_400


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteAccount]:
    """An Azurite for this module alone, because timers open periods for every tenant that there is."""
    with running_azurite(tmp_path_factory.mktemp("azurite")) as account:
        yield account


@pytest.mark.parametrize("skew_seconds", [SKEW_SECONDS, -SKEW_SECONDS])
async def test_the_first_request_and_the_first_timer_of_a_process_are_booked_in_the_right_month(
    stack_on_tables: Stack, azurite: AzuriteAccount, tmp_path: Path, skew_seconds: float
) -> None:
    stack = stack_on_tables
    books = (await stack.gateway()).ledger.books
    current = BillingPeriod.containing((await stack.gateway()).clock.now())
    async with later_hosts(azurite, tmp_path, 2, skew_seconds=skew_seconds) as (serving, timing):
        status, _, _ = await stack.chat(url=stack.chat_url.replace(stack.url, serving.url))
        assert status == 200
        await timing.start_timer("roll_up_usage")
        status, listed = await timing.manage("GET", "/manage/periods")
    assert [each["period"] for each in listed["data"]] == [str(current)]
    assert [str(period) async for period in books.periods()] == [str(current)]


async def test_a_process_that_starts_without_storage_learns_the_time_from_the_first_answer(
    stack_on_tables: Stack, azurite: AzuriteAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StorageClock, "_machine_time", lambda _: time.time() + SKEW_SECONDS)
    monkeypatch.setattr("tests.tools.fault_proxy.FAULTS", ("lost request",))
    server, _, account = azurite.table_endpoint.rpartition("/")
    wrong_by: list[float] = []
    async with FaultProxy(server, 1.0, 0) as proxy:
        monkeypatch.setenv("TALLYGATE_TABLE_ENDPOINT", f"{proxy.url}/{account}")
        gateway = await build(read_settings())
        try:
            for proxy.rate in (1.0, 0.0):
                wrong_by.append(gateway.clock.now().timestamp() - time.time())
                with pytest.raises((StorageUnavailable, NotFound)):
                    await gateway.tenancy.tenants.get("nobody")
            wrong_by.append(gateway.clock.now().timestamp() - time.time())
        finally:
            await gateway.aclose()
    assert [wrong > SKEW_SECONDS / 2 for wrong in wrong_by] == [True, True, False]
