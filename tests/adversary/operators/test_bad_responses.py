"""One background response that cannot be settled stops no other, is named by the timer, and is never asked for ever."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from shared import timers
from shared.adapters.tables.responses import TableResponses
from shared.adapters.tables.store import Insert, Merge
from shared.application.inference.settle_background_responses import SettleResponses
from shared.application.sweep import SweepFailed
from shared.domain.identifiers import timestamp
from tests.functions.inference.test_responses import create
from tests.tools.ledgers import ManualClock, sweep_by
from tests.tools.stack import Stack, eventually, free_port

TABLE, PARTITION = "responses", "running"


async def timer_of(stack: Stack) -> SettleResponses:
    return (await stack.gateway()).inference.settle_background


async def rows_of(stack: Stack) -> Any:
    directory = (await timer_of(stack))._directory
    assert isinstance(directory, TableResponses)
    return directory._store


async def spoil(stack: Stack, response_id: str, **fields: Any) -> None:
    """Write fields into the row of a deferred response, past the gateway."""
    rows = await rows_of(stack)
    row = await rows.get(TABLE, PARTITION, response_id)
    await rows.submit(TABLE, PARTITION, [Merge(response_id, fields, row.etag)], "spoiled")


async def unsettled(stack: Stack) -> list[str]:
    rows = await rows_of(stack)
    return [row.key async for row in rows.scan(TABLE, PARTITION, "", "~")]


async def three(stack: Stack) -> list[str]:
    """Create three responses that have ended. Returns their ids in the timer's order."""
    made = sorted([(await create(stack, background=True))["id"] for _ in range(3)])
    for kept in stack.simulator.kept.values():
        kept.look()
    return made


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ({"price_version": "gone"}, "Price version 'gone' is not in the price book"),
        ({"lane": "first"}, "cannot be read"),
        ({"tokens": "many"}, "cannot be read"),
    ],
)
async def test_a_response_that_cannot_be_settled_stops_no_other_and_is_named(
    stack: Stack, damage: dict[str, Any], named: str
) -> None:
    first, *others = await three(stack)
    await spoil(stack, first, **damage)
    for _ in range(2):
        with pytest.raises(SweepFailed, match=first) as raised:
            await timers.settle_background_responses(past_due=False)
        assert named in str(raised.value)
    assert await unsettled(stack) == [first]
    assert len(await stack.entries()) == len(others)


async def test_a_row_that_is_no_response_stops_no_other(stack: Stack) -> None:
    await three(stack)
    await (await rows_of(stack)).submit(TABLE, PARTITION, [Insert("odd", {})], "spoiled")
    with pytest.raises(SweepFailed, match="odd"):
        await (await timer_of(stack))()
    assert (await unsettled(stack), len(await stack.entries())) == (["odd"], 3)


@pytest.mark.parametrize("trouble", ["unreachable", "removed"])
async def test_a_backend_that_cannot_be_asked_for_thirty_days_costs_the_hold(stack: Stack, trouble: str) -> None:
    first, second, third = await three(stack)
    gateway = await stack.gateway()
    if trouble == "unreachable":
        nobody = {"endpoint": f"http://127.0.0.1:{free_port()}"}
        await stack.backend("swedencentral", "se-gpt-4o", **nobody)
    else:
        await stack.backend("eastus")
        await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["eastus"]})
        await stack.manage("DELETE", "/manage/backends/se-gpt-4o", status=204)
    timer = await timer_of(stack)
    assert await timer() == 0
    assert await unsettled(stack) == [first, second, third]
    await spoil(stack, second, created=timestamp(gateway.clock.now() - timedelta(days=31)))
    assert await timer() == 1
    assert await unsettled(stack) == [first, third]
    (entry,) = await stack.entries()
    assert (entry["error_code"], entry["estimated"]) == ("response_unreachable", True)
    assert entry["usage"]["output"] == 4096


async def test_a_slice_that_ends_early_goes_on_where_it_stopped(stack: Stack) -> None:
    first, *others = await three(stack)
    timer = await timer_of(stack)
    clock = ManualClock()
    timer._sweep = sweep_by(clock, slice_seconds=1)
    timer._sweep._at_once = 1
    settled_ids: list[str] = []
    ask = timer.ask

    async def slow(response_id: str, reservation: Any) -> bool:
        clock.seconds += 2
        settled_ids.append(response_id)
        return await ask(response_id, reservation)

    timer.ask = slow  # type: ignore[method-assign]
    assert [await timer(), await timer(), await timer()] == [1, 1, 1]
    assert settled_ids == [first, *others]


async def test_several_responses_are_asked_for_at_once(stack: Stack) -> None:
    made = await three(stack)
    stack.simulator.faults.clear()
    for _ in made:
        await stack.fault(deployment="responses", kind="hang")
    timer = await timer_of(stack)
    running = asyncio.create_task(timer())
    await eventually(
        lambda: sum(f"/responses/{each}" in record.path for each in made for record in stack.simulator.records) == 3
    )
    await stack.release_faults()
    await running
