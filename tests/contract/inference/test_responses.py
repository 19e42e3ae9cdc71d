"""Owners of stored responses, in memory and in Azurite: simultaneous writes, later months, and rows that disappear."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.responses import TableResponses
from shared.adapters.tables.store import Row, TableStore
from shared.domain.errors import StorageUnavailable
from shared.domain.inference.stored_response import StoredResponse
from tests.tools.ledgers import FaultyStore, ManualClock, reservation

ID = "resp_odd/id?#"


def stored(tenant: str, context_tokens: int = 7) -> StoredResponse:
    return StoredResponse(
        response_id=ID, tenant_id=tenant, deployment="gpt-4o", backend_id="se", context_tokens=context_tokens
    )


async def test_a_response_is_found_by_its_owner_alone(store: TableStore, tenant: str) -> None:
    responses = TableResponses(store, ManualClock())
    assert await responses.get(tenant, ID) is None
    await responses.put(stored(tenant))
    await responses.put(stored(tenant, 9))
    assert await responses.get(tenant, ID) == stored(tenant, 9)
    assert await responses.get(f"{tenant}x", ID) is None
    await responses.remove(tenant, ID)
    await responses.remove(tenant, ID)
    assert await responses.get(tenant, ID) is None


async def test_a_response_stored_several_times_at_once_has_one_owner(store: TableStore, tenant: str) -> None:
    responses = TableResponses(store, ManualClock())
    await responses.put(stored(tenant, 1))
    await asyncio.gather(*(responses.put(stored(tenant, tokens)) for tokens in range(2, 10)))
    found = await responses.get(tenant, ID)
    assert found is not None
    assert found.context_tokens in range(2, 10)


@pytest.mark.parametrize(("days", "is_found"), [(0, True), (31, True), (62, True), (120, False)])
async def test_a_response_is_found_as_long_as_the_backend_keeps_it(
    store: TableStore, tenant: str, days: int, is_found: bool
) -> None:
    clock = ManualClock()
    await TableResponses(store, clock).put(stored(tenant))
    clock.moment += timedelta(days=days)
    assert (await TableResponses(store, clock).get(tenant, ID) is not None) is is_found


async def test_a_background_response_is_noted_once_and_removed_once(store: TableStore, tenant: str) -> None:
    responses = TableResponses(store, ManualClock())
    held = reservation(tenant)
    response_id = f"resp_{tenant}"
    await responses.resolve(response_id)
    for _ in range(2):
        await responses.defer(response_id, held)
    assert [each async for each in responses.deferred() if each[0] == response_id] == [(response_id, held)]
    for _ in range(2):
        await responses.resolve(response_id)
    assert [each async for each in responses.deferred() if each[0] == response_id] == []


async def test_a_response_that_is_settled_while_it_is_noted_again_is_noted_once_more() -> None:
    class Vanishing(InMemoryTableStore):
        async def get(self, table: str, partition: str, key: str) -> Row | None:
            await responses.resolve(ID)
            return await super().get(table, partition, key)

    responses = TableResponses(Vanishing(), ManualClock())
    held = reservation()
    assert [await responses.defer(ID, held), await responses.defer(ID, held)] == [True, True]
    assert [each async for each in responses.deferred()] == [(ID, held)]


async def test_an_id_is_noted_for_one_reservation(store: TableStore, tenant: str) -> None:
    responses = TableResponses(store, ManualClock())
    held, response_id = reservation(tenant), f"resp_{tenant}/?#"
    assert await responses.reservation_of(response_id) is None
    assert await responses.defer(response_id, held)
    assert not await responses.defer(response_id, reservation(tenant))
    assert await responses.reservation_of(response_id) == held


async def test_an_outage_of_storage_raises_an_error() -> None:
    store = FaultyStore(InMemoryTableStore())
    responses = TableResponses(store, ManualClock())
    await responses.put(stored("acme"))
    store.is_down = True
    for asking in (responses.get("acme", ID), responses.put(stored("acme")), responses.remove("acme", ID)):
        with pytest.raises(StorageUnavailable, match="could not be stored or read"):
            await asking


async def test_a_row_that_disappears_while_it_is_stored_again_is_no_error() -> None:
    class Vanishing(InMemoryTableStore):
        async def get(self, table: str, partition: str, key: str) -> Row | None:
            return None

    responses = TableResponses(Vanishing(), ManualClock())
    await responses.put(stored("acme"))
    await responses.put(stored("acme"))
    assert await responses.get("acme", ID) is None
