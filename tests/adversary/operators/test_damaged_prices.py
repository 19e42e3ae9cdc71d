"""A row of the price book is damaged by hand: its model is refused, all others are served, and the row is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shared import timers
from shared.adapters.documents.pricing import DocumentPrices, InspectedPrices
from shared.adapters.documents.store import Document, key_of
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.statements.json_manifest import JsonManifest
from shared.adapters.statements.json_statements import JsonStatements
from shared.adapters.tables.books import TableBooks
from shared.application.billing.verify_statements import VerifyStatements
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.application.sweep import SweepFailed
from shared.domain.errors import RowsDamaged, UnpricedModel
from shared.domain.pricing.damaged_price import DamagedPrice, PricesDamaged
from shared.domain.pricing.money import usd
from shared.domain.pricing.price import Price
from shared.domain.pricing.price_book import IMAGES, TOKENS, PriceBook, PriceKey
from shared.domain.pricing.usage import Meter
from tests.adversary.operators.test_missed_months import LATER, files_of, spend
from tests.functions.inference.test_responses import create
from tests.tools.events import told
from tests.tools.ledgers import EARLY, PRICES, charge
from tests.tools.stack import Stack
from tests.unit.ledger.test_periods import CHAIN, World

Damage = Callable[[dict[str, Any]], str]


def changed(**fields: Any) -> Damage:
    return lambda row: json.dumps({**row, **fields})


def without(name: str) -> Damage:
    return lambda row: json.dumps({each: text for each, text in row.items() if each != name})


DAMAGES: dict[str, Damage] = {
    "no JSON": lambda _: "{",
    "nothing": lambda _: "",
    "deep nesting": lambda _: '{"model":' * 5000,
    "another type": lambda _: "[]",
    "an empty object": lambda _: "{}",
    "no price": without("usd_per_million"),
    "no meter": without("meter"),
    "no time": without("effective_from"),
    "no model": without("model"),
    "a price that is a number": changed(usd_per_million=1),
    "a price that is a word": changed(usd_per_million="cheap"),
    "a price that is no number": changed(usd_per_million="NaN"),
    "a negative price": changed(usd_per_million="-1.00"),
    "an unknown meter": changed(meter="thoughts"),
    "another meter": changed(meter="audio_seconds"),
    "a time without a zone": changed(effective_from="2024-01-01T00:00:00"),
    "a time before the calendar": changed(effective_from="0001-01-01T00:00:00+23:59"),
    "another time": changed(effective_from="2023-01-01T00:00:00Z"),
    "a band that ends before it begins": changed(input_tokens_above=10, input_tokens_up_to=5),
    "a negative band": changed(input_tokens_above=-5),
    "another model": changed(model="gpt-9"),
    "no order": changed(is_ordered=False),
    "bands that are no list": changed(other_bands=7),
    "bands that are no rows": changed(other_bands=[1, None]),
    "a contradicting band": lambda row: json.dumps({**row, "other_bands": [{**row, "usd_per_million": "99.00"}]}),
    "a band of another meter": lambda row: json.dumps({**row, "other_bands": [{**row, "meter": "cache_write"}]}),
}


async def documents_of(stack: Stack) -> Any:
    return (await stack.gateway()).pricing.prices._store._documents  # type: ignore[attr-defined]


async def row_of(stack: Stack, model: str, meter: str) -> Document:
    found: list[Document] = await (await documents_of(stack)).list("prices", partition=key_of(model))
    return next(each for each in found if json.loads(each.text)["meter"] == meter)


async def spoil(stack: Stack, row: Document, text: str) -> None:
    """Write a text into a row, past the gateway, whose processes notice it."""
    await (await documents_of(stack)).put("prices", row.partition, row.key, text)
    (await stack.gateway()).pricing.book.invalidate()


def chat_url(stack: Stack, model: str) -> str:
    return stack.chat_url.replace("/gpt-4o/", f"/{model}/")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if "gateway.price.damaged" in each.getMessage()]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_the_model_is_refused_and_all_others_are_served(
    stack: Stack, caplog: pytest.LogCaptureFixture, damage: Damage
) -> None:
    row = await row_of(stack, "gpt-4o", "input")
    named = f"prices/gpt-4o/{row.key}"
    await spoil(stack, row, damage(json.loads(row.text)))
    for _ in range(2):
        status, _, answer = await stack.chat()
        assert (status, answer["error"]["code"]) == (424, "unpriced_model")
        assert named in answer["error"]["message"]
        (await stack.gateway()).pricing.book.invalidate()
    assert await stack.requests() == []
    assert (await stack.chat(url=chat_url(stack, "gpt-4o-mini")))[0] == 200
    (line,) = lines(caplog)
    assert named in line
    assert "gpt-4o" in line
    problems = (await stack.manage("GET", "/manage/status"))["problems"]
    assert [each["object"] for each in problems if "price" in each["object"]] == [named]
    listed = await stack.manage("GET", "/manage/prices")
    assert [each["row"] for each in listed["damaged"]] == [named]
    assert any(each["model"] == "gpt-4o-mini" for each in listed["data"])
    refused = await stack.manage(
        "POST",
        "/manage/prices",
        {"model": "gpt-4o", "meter": "input", "usd_per_million": "1", "effective_from": "2025-01-01T00:00:00Z"},
        status=503,
    )
    assert named in refused["error"]["message"]
    await spoil(stack, row, row.text)
    assert (await stack.chat())[0] == 200
    assert (await stack.manage("GET", "/manage/prices"))["damaged"] == []


@pytest.mark.parametrize("damage", [DAMAGES["no JSON"], DAMAGES["a price that is a word"]])
@pytest.mark.parametrize("meter", ["input", "cached_input", "output", "audio_output"])
async def test_no_older_row_and_no_other_meter_takes_the_place_of_a_damaged_one(
    stack: Stack, damage: Damage, meter: str
) -> None:
    for year, dollars in (("2024", "1"), ("2025", "9")):
        row = {"model": "o4-mini", "meter": meter, "usd_per_million": dollars}
        row["effective_from"] = f"{year}-02-01T00:00:00Z"
        await stack.manage("POST", "/manage/prices", row, status=201)
    found = await (await documents_of(stack)).list("prices", partition="o4-mini")
    newest = next(each for each in found if json.loads(each.text)["usd_per_million"] == "9.00")
    await spoil(stack, newest, damage(json.loads(newest.text)))
    status, _, answer = await stack.chat(url=chat_url(stack, "o4-mini"))
    assert (status, newest.key in answer["error"]["message"]) == (424, True)


async def test_a_row_of_another_unit_refuses_only_what_it_may_price(stack: Stack) -> None:
    row = {"model": "gpt-4o", "meter": "images", "usd_per_million": "1", "effective_from": "2024-01-01T00:00:00Z"}
    await stack.manage("POST", "/manage/prices", row, status=201)
    images = await row_of(stack, "gpt-4o", "images")
    await spoil(stack, images, DAMAGES["a price that is a word"](json.loads(images.text)))
    assert (await stack.chat())[0] == 200
    book = await (await stack.gateway()).pricing.book.get()
    with pytest.raises(PricesDamaged, match=images.key):
        book.rates(key_of_model("gpt-4o"), EARLY, IMAGES)
    # The key proves the meter only as long as the content has it.
    await spoil(stack, images, DAMAGES["another meter"](json.loads(images.text)))
    assert (await stack.chat())[0] == 424


@pytest.mark.parametrize(
    ("partition", "text", "refused"),
    [
        ("elsewhere", "{", {"elsewhere"}),
        ("a=2Fb", "{", {"a/b"}),
        ("a+b", "{", set()),
        ("a+b", '{"model": "gpt-4o"}', {"gpt-4o"}),
        ("a+b", '{"model": ""}', set()),
        ("elsewhere", '{"model": "gpt-4o", "other_bands": [{"model": "o4-mini"}]}', {"elsewhere", "gpt-4o", "o4-mini"}),
    ],
)
async def test_a_row_concerns_the_models_that_it_names_and_else_all(
    partition: str, text: str, refused: set[str]
) -> None:
    documents = InMemoryDocuments()
    prices = DocumentPrices(documents)
    rows = [
        Price(model=model, meter=meter, usd_per_million="1.00", effective_from=EARLY, is_ordered=True)
        for model in ("gpt-4o", "o4-mini", "other")
        for meter in (Meter.INPUT, Meter.OUTPUT)
    ]
    for row in rows:
        await prices.insert(row, told())
    await documents.put("prices", partition, "x", text)
    stored = await prices.load()
    (damaged,) = stored.damaged
    assert (damaged.row, damaged.models, damaged.meter) == (f"prices/{partition}/x", frozenset(refused), None)
    assert ("all models" in damaged.effect) == (not refused)
    served = {model for model in ("gpt-4o", "o4-mini", "other") if is_priced(stored.book, model)}
    assert served == ({"gpt-4o", "o4-mini", "other"} - refused if refused else set())
    assert [each.place.row for each in await InspectedPrices(documents).faults()] == ["x"]


def key_of_model(model: str) -> PriceKey:
    return PriceKey(model=model, model_version="", sku="", region="")


def is_priced(book: PriceBook, model: str) -> bool:
    try:
        book.rates(key_of_model(model), EARLY, TOKENS)
    except PricesDamaged:
        return False
    return True


def test_what_is_sound_is_priced_by_its_version_and_what_may_be_damaged_is_not() -> None:
    sound = Price(model="m", meter=Meter.INPUT, usd_per_million="1.00", effective_from=EARLY)
    damaged = [
        DamagedPrice(row=f"prices/m/{number}", message="it is broken", models=frozenset({"m"})) for number in range(7)
    ]
    book = PriceBook([sound], damaged)
    assert book.of_version(sound.price_id).pusd_per_unit[0] == 1_000_000
    with pytest.raises(PricesDamaged, match=r"prices/m/0 \(it is broken\); .*prices/m/4.*; and 2 more\.$"):
        book.of_version("0000000000")
    with pytest.raises(UnpricedModel) as raised:
        PriceBook([sound]).of_version("0000000000")
    assert type(raised.value) is UnpricedModel


async def test_a_stored_response_waits_until_its_prices_are_repaired(stack: Stack) -> None:
    made = await create(stack, background=True)
    stack.simulator.kept[made["id"]].look()
    row = await row_of(stack, "gpt-4o", "cached_input")
    await spoil(stack, row, "{")
    for _ in range(2):
        with pytest.raises(SweepFailed, match=f"{made['id']}: PricesDamaged: .*{row.key}"):
            await timers.settle_background_responses(past_due=False)
    assert await stack.entries() == []
    await spoil(stack, row, row.text)
    await timers.settle_background_responses(past_due=False)
    (entry,) = await stack.entries()
    assert entry["price_flags"] == ""


async def test_a_stored_response_waits_for_any_row_that_may_price_it(stack: Stack) -> None:
    made = await create(stack, background=True)
    stack.simulator.kept[made["id"]].look()
    row = await row_of(stack, "gpt-4o", "input")
    unreadable = replace(row, key="x")
    await spoil(stack, unreadable, "{")
    with pytest.raises(SweepFailed, match=f"{made['id']}: PricesDamaged: .*prices/gpt-4o/x"):
        await timers.settle_background_responses(past_due=False)
    assert await stack.entries() == []
    await (await documents_of(stack)).remove("prices", unreadable.partition, unreadable.key)
    (await stack.gateway()).pricing.book.invalidate()
    await timers.settle_background_responses(past_due=False)
    assert len(await stack.entries()) == 1


async def test_an_archive_is_not_restored_over_a_damaged_row() -> None:
    documents = InMemoryDocuments()
    prices = DocumentPrices(documents)
    new = Price(model="m", meter=Meter.INPUT, usd_per_million="1.00", effective_from=EARLY, is_ordered=True)
    old = Price(model="m", meter=Meter.INPUT, usd_per_million="1.0", effective_from=EARLY)
    await documents.put("prices", "m", old.price_id, "{")
    for price in (new, old):
        with pytest.raises(RowsDamaged, match=f"prices/m/{old.price_id}"):
            await prices.restore(price)


async def test_a_month_is_not_billed_without_the_row_that_its_entries_name() -> None:
    documents, world = InMemoryDocuments(), World()
    prices = InspectedPrices(documents)
    for price in PRICES:
        await prices.restore(price)
    world.build._prices = prices
    for month in ("2026-10", "2026-11"):
        await spend(world, "acme", month)
    world.clock.moment = LATER
    place = key_of("gpt-4o"), PRICES[0].price_id
    sound = await documents.get("prices", *place)
    assert sound is not None
    for text in ("{", sound.text.replace("2.50", "9.99")):
        await documents.put("prices", *place, text)
        with pytest.raises(SweepFailed, match=f"2026-11: PricesDamaged: .*prices/gpt-4o/{PRICES[0].price_id}"):
            await world.export()
        assert files_of(world.reports) == {}
        verify = VerifyLedger(TableBooks(world.rows), prices, CHAIN)
        found = [each.message async for _, findings in verify("2026-11") for each in findings]
        assert any(PRICES[0].price_id in message for message in found)
        assert [each.place.row for each in await prices.faults()] == [PRICES[0].price_id]
    # A damaged row that no entry names keeps no month from being billed, at the prices of its time.
    await documents.put("prices", *place, sound.text)
    await documents.put("prices", "gpt-4o", "later", "{")
    assert {str(period) for period in await world.export()} == {"2026-10", "2026-11"}
    bill = (await world.statements())["tenants"][0]
    assert bill["exact_cost_usd"] == usd(charge().amount.pusd)
    statements = VerifyStatements(world.ledger, prices, world.reports, JsonStatements(), JsonManifest())
    assert await statements("2026-11") == []
    await documents.put("prices", *place, "{")
    (finding,) = await statements("2026-11")
    assert f"prices/gpt-4o/{PRICES[0].price_id}" in finding.message
