"""An operator inserts two prices for one key and time, one after the other or in two processes at once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from shared.adapters.documents.pricing import DocumentPrices, InspectedPrices
from shared.adapters.documents.store import Document, Documents, OutboxRow, key_of
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.tables.documents import TableDocuments
from shared.domain.errors import AlreadyExists, PriceContradicted
from shared.domain.pricing.price import Price
from shared.domain.pricing.usage import Meter
from tests.contract.storage.conftest import table_service
from tests.tools.events import told
from tests.tools.ledgers import EARLY
from tests.tools.stack import AzuriteAccount, Stack

ROW = {"model": "m", "meter": "input", "usd_per_million": "60", "effective_from": "2026-01-01T00:00:00Z"}
PRICE = Price(model="m", meter=Meter.INPUT, usd_per_million="60.00", effective_from=EARLY, is_ordered=True)


async def stored(stack: Stack) -> list[dict[str, Any]]:
    return [row for row in (await stack.manage("GET", "/manage/prices"))["data"] if row["model"] == "m"]


async def test_one_price_has_many_spellings_and_is_stored_once(stack: Stack) -> None:
    first = await stack.manage("POST", "/manage/prices", ROW, status=201)
    assert first["usd_per_million"] == "60.00"
    for spelled in ("60", "60.0", "60.00", "6e1", "060"):
        for at in ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"):
            same = ROW | {"usd_per_million": spelled, "effective_from": at, "source": "elsewhere"}
            assert await stack.manage("POST", "/manage/prices", same, status=200) == first
    assert await stored(stack) == [first]


async def test_a_price_that_contradicts_a_stored_one_is_refused(stack: Stack) -> None:
    first = await stack.manage("POST", "/manage/prices", ROW, status=201)
    for changed in ("59.999999", "60.000001", "0"):
        refused = await stack.manage("POST", "/manage/prices", ROW | {"usd_per_million": changed}, status=409)
        assert refused["error"]["code"] == "price_contradicted"
        assert first["price_id"] in refused["error"]["message"]
    assert await stored(stack) == [first]
    others: list[dict[str, Any]] = [
        {"effective_from": "2026-01-02T00:00:00Z"},
        {"meter": "output"},
        *({name: "x"} for name in ("model_version", "sku", "region", "variant")),
    ]
    for other in others:
        await stack.manage("POST", "/manage/prices", ROW | {"usd_per_million": "61"} | other, status=201)


@pytest.mark.parametrize("field", ["model_version", "sku", "region", "variant"])
async def test_an_empty_name_in_a_price_is_refused_because_null_means_any(stack: Stack, field: str) -> None:
    refused = await stack.manage("POST", "/manage/prices", ROW | {field: ""}, status=400)
    assert refused["error"]["param"] == field


@pytest.fixture(params=["memory", "azurite"])
async def documents(request: pytest.FixtureRequest) -> AsyncIterator[Documents]:
    if request.param == "memory":
        yield InMemoryDocuments()
        return
    azurite: AzuriteAccount = request.getfixturevalue("azurite")
    async with table_service(azurite.table_endpoint, azurite.key) as service:
        yield TableDocuments(service)


class LookingTogether:
    """Documents of a process that goes on only when the other processes have looked for the row as well."""

    def __init__(self, documents: Documents, barrier: asyncio.Barrier) -> None:
        self._documents = documents
        self._barrier = barrier
        self._has_looked = False

    async def list(self, table: str, *, partition: str | None = None) -> list[Document]:
        found = await self._documents.list(table, partition=partition)
        if not self._has_looked:
            self._has_looked = True
            await self._barrier.wait()
        return found

    async def insert(self, table: str, partition: str, key: str, text: str, event: OutboxRow) -> str:
        return await self._documents.insert(table, partition, key, text, event)

    async def replace(self, table: str, partition: str, key: str, text: str, etag: str, event: OutboxRow) -> str:
        return await self._documents.replace(table, partition, key, text, etag, event)


@pytest.mark.parametrize("usd", [("1.00", "2.00"), ("1.00", "1.00")])
async def test_of_two_rows_that_two_processes_insert_at_once_one_is_stored(
    documents: Documents, usd: tuple[str, str]
) -> None:
    barrier, model = asyncio.Barrier(2), f"m-{secrets.token_hex(4)}"
    rows = [replace(PRICE, model=model, usd_per_million=each) for each in usd]
    inserted = await asyncio.gather(
        *(DocumentPrices(LookingTogether(documents, barrier)).insert(row, told()) for row in rows),  # type: ignore[arg-type]
        return_exceptions=True,
    )
    kept = [row for row in (await DocumentPrices(documents).load()).readable if row.model == model]
    assert len(kept) == 1
    expected = (kept[0], False) if usd[0] == usd[1] else None
    others = [each for each in inserted if each != (kept[0], True)]
    assert len(others) == 1
    assert others[0] == expected or (expected is None and isinstance(others[0], PriceContradicted))


async def of_an_earlier_version(documents: Documents, *usd: str) -> list[Price]:
    """Store rows as earlier versions did: under a hash of key and price, so that two rows could have one key."""
    rows = [replace(PRICE, usd_per_million=each, is_ordered=False) for each in usd]
    for row in rows:
        await DocumentPrices(documents).restore(row)
    return rows


async def test_a_stored_row_keeps_its_id_however_its_price_is_spelled() -> None:
    documents = InMemoryDocuments()
    (old,) = await of_an_earlier_version(documents, "60.0")
    prices = DocumentPrices(documents)
    assert await prices.insert(PRICE, told()) == (old, False)
    assert old.price_id != PRICE.price_id
    with pytest.raises(PriceContradicted, match=old.price_id):
        await prices.insert(replace(PRICE, usd_per_million="61.00"), told())
    assert (await prices.load()).readable == [old]


async def test_a_stored_variant_is_the_same_however_an_earlier_version_let_it_be_spelled() -> None:
    prices = DocumentPrices(InMemoryDocuments())
    old = replace(PRICE, usd_per_million="60", variant="HD  1024X1024", is_ordered=False)
    await prices.restore(old)
    with pytest.raises(PriceContradicted, match=old.price_id):
        await prices.insert(replace(old, usd_per_million="61").normalised(), told())
    assert await prices.insert(old.normalised(), told()) == (old, False)
    assert (await prices.load()).readable == [old]


async def test_where_two_stored_rows_contradict_the_one_that_applies_counts() -> None:
    documents = InMemoryDocuments()
    rows = await of_an_earlier_version(documents, "60", "61")
    loser, winner = sorted(rows, key=lambda row: row.price_id)
    prices = DocumentPrices(documents)
    assert await prices.insert(replace(winner, is_ordered=True), told()) == (winner, False)
    with pytest.raises(PriceContradicted, match=winner.price_id):
        await prices.insert(replace(loser, is_ordered=True), told())


async def test_bands_of_one_key_are_no_contradiction() -> None:
    documents = InMemoryDocuments()
    short, long = (
        replace(PRICE, input_tokens_above=above, input_tokens_up_to=up_to) for above, up_to in ((0, 9), (9, None))
    )
    for row in (short, long):
        await DocumentPrices(documents).insert(row.normalised(), told())
    prices = InspectedPrices(documents)
    assert (len((await prices.load()).readable), await prices.faults()) == (2, [])


async def test_an_archive_restores_every_row_under_its_id_or_says_why_not() -> None:
    documents = InMemoryDocuments()
    prices = DocumentPrices(documents)
    old = await of_an_earlier_version(documents, "60", "61")
    for row in old:
        await prices.restore(row)
    assert len((await prices.load()).readable) == 2
    at = key_of(PRICE.model)
    with pytest.raises(AlreadyExists, match="belongs"):
        await prices.restore(replace(max(old, key=lambda row: row.price_id).normalised()))
    for row in old:
        await documents.remove("prices", at, row.price_id)
    for _ in range(2):
        await prices.restore(PRICE)
    assert (await prices.load()).readable == [PRICE]


async def test_context_bands_of_one_key_may_not_overlap(stack: Stack) -> None:
    short = await stack.manage("POST", "/manage/prices", ROW | {"input_tokens_up_to": 200}, status=201)
    long = {"input_tokens_above": 200, "usd_per_million": "120"}
    await stack.manage("POST", "/manage/prices", ROW | long, status=201)
    assert await stack.manage("POST", "/manage/prices", ROW | {"input_tokens_up_to": 200}, status=200) == short
    everything = await stack.manage("POST", "/manage/prices", ROW | {"usd_per_million": "90"}, status=201)
    assert len(await stored(stack)) == 3
    for band in ({"input_tokens_up_to": 300}, {"input_tokens_above": 199}, {"input_tokens_up_to": 1}, long):
        refused = await stack.manage("POST", "/manage/prices", ROW | band | {"usd_per_million": "60"}, status=409)
        assert refused["error"]["code"] == "price_contradicted"
    apart: list[dict[str, Any]] = [{"service_tier": "priority"}, {"effective_from": "2026-02-01T00:00:00Z"}]
    for other in apart:
        await stack.manage("POST", "/manage/prices", ROW | {"input_tokens_up_to": 300} | other, status=201)
    assert everything in await stored(stack)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input_tokens_above": 5, "input_tokens_up_to": 5}, "input_tokens_up_to"),
        ({"input_tokens_up_to": 0}, "input_tokens_up_to"),
        ({"input_tokens_above": -1}, "input_tokens_above"),
        ({"service_tier": "auto"}, "service_tier"),
        ({"service_tier": ""}, "service_tier"),
        ({"service_tier": "a b"}, "service_tier"),
    ],
)
async def test_a_price_of_no_band_or_tier_is_refused(stack: Stack, fields: dict[str, Any], param: str) -> None:
    refused = await stack.manage("POST", "/manage/prices", ROW | fields, status=400)
    assert refused["error"]["param"] == param


async def test_the_standard_tier_has_one_name(stack: Stack) -> None:
    first = await stack.manage("POST", "/manage/prices", ROW, status=201)
    for name in ("default", "Standard", None):
        assert await stack.manage("POST", "/manage/prices", ROW | {"service_tier": name}, status=200) == first
    await stack.manage("POST", "/manage/prices", ROW | {"usd_per_million": "1", "service_tier": "flex"}, status=201)
    await stack.manage("POST", "/manage/prices", ROW | {"usd_per_million": "2", "service_tier": "Flex"}, status=409)


@pytest.mark.parametrize("bands", [((0, 10), (5, None)), ((0, 10), (10, None))])
async def test_of_two_bands_that_two_processes_insert_at_once_none_overlaps_another(
    documents: Documents, bands: tuple[tuple[int, int | None], ...]
) -> None:
    barrier, model = asyncio.Barrier(2), f"m-{secrets.token_hex(4)}"
    base = replace(PRICE, model=model, input_tokens_up_to=1)
    rows = [replace(base, input_tokens_above=above + 1, input_tokens_up_to=up_to) for above, up_to in bands]
    await DocumentPrices(documents).insert(base, told())
    inserted = await asyncio.gather(
        *(DocumentPrices(LookingTogether(documents, barrier)).insert(row, told()) for row in rows),  # type: ignore[arg-type]
        return_exceptions=True,
    )
    kept = [row for row in (await DocumentPrices(documents).load()).readable if row.model == model]
    refused = [each for each in inserted if isinstance(each, PriceContradicted)]
    assert len(kept) + len(refused) == 3
    assert len(refused) == (1 if bands[1][0] == 5 else 0)


async def test_an_archive_restores_the_bands_of_one_key() -> None:
    rows = [replace(PRICE, input_tokens_above=above, input_tokens_up_to=up_to) for above, up_to in ((0, 9), (9, None))]
    prices = DocumentPrices(InMemoryDocuments())
    for row in rows * 2:
        await prices.restore(row)
    assert sorted((await prices.load()).readable, key=lambda row: row.input_tokens_above) == rows
