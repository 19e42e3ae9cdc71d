"""Values of upstream are bounded before they are booked: no answer takes a tenant's month, or is refused by storage."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from local.azurite_server import ACCOUNT
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.rest_store import RestTableStore, SharedKey
from shared.adapters.tables.store import TableStore
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.ledger.balance import Account, Lane
from shared.domain.ledger.entries import EntryKind, Outcome
from shared.domain.ledger.plain_outcome import RECORD_REFUSED
from tests.functions.inference.test_operations import form
from tests.tools.ledgers import PERIOD, ManualClock, account, charge, reservation
from tests.tools.stack import AzuriteAccount, Stack

HUGE = 10**19


async def only(stack: Stack) -> dict[str, Any]:
    await stack.settled()
    (entry,) = await stack.entries()
    return entry


@pytest.mark.parametrize("stream", [False, True])
async def test_a_usage_beyond_the_models_context_is_cut_and_the_tenant_stays_served(
    stack_on_tables: Stack, stream: bool
) -> None:
    stack = stack_on_tables
    details = {"cached_tokens": HUGE // 2, "audio_tokens": 7}
    usage = {"prompt_tokens": HUGE, "completion_tokens": HUGE, "prompt_tokens_details": details}
    await stack.fault(kind="lie", body={"usage": usage})
    status, _, body = await stack.chat(stream=stream)
    entry = await only(stack)
    assert status == 200
    assert b"ledger_unavailable" not in (body if stream else b"")
    assert (entry["estimated"], entry["tokens"]) == (True, 2 * 131_072)
    assert (await stack.chat())[0] == 200


async def test_a_model_that_is_not_listed_may_use_twice_the_largest_context(stack: Stack) -> None:
    await stack.backend("swedencentral", "odd", model="odd-model")
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["odd"]})
    for meter in ("input", "output"):
        row = {"model": "odd-model", "meter": meter, "usd_per_million": "1", "effective_from": "2024-01-01T00:00:00Z"}
        await stack.manage("POST", "/manage/prices", row)
    await stack.fault(kind="lie", body={"usage": {"prompt_tokens": HUGE, "completion_tokens": 1}})
    await stack.chat()
    assert (await only(stack))["usage"]["input"] == 2**21


async def test_a_usage_above_the_hold_that_is_possible_is_believed(stack: Stack) -> None:
    await stack.fault(kind="lie", body={"usage": {"prompt_tokens": 60_000, "completion_tokens": 60_000}})
    await stack.chat()
    entry = await only(stack)
    assert (entry["estimated"], entry["tokens"]) == (False, 120_000)


async def test_each_of_several_choices_may_fill_a_context(stack: Stack) -> None:
    await stack.fault(kind="lie", body={"usage": {"prompt_tokens": 9, "completion_tokens": 300_000}})
    await stack.chat(n=3)
    entry = await only(stack)
    assert (entry["estimated"], entry["usage"]["output"]) == (False, 300_000)


@pytest.mark.parametrize("stream", [False, True])
async def test_long_and_odd_texts_are_cut(stack_on_tables: Stack, stream: bool) -> None:
    stack = stack_on_tables
    verdicts = {"x" * 40_000: {"detected": True}, "a,b:c\r\nSet-Cookie: d": {"filtered": True, "severity": "high"}}
    lies = {
        "service_tier": "\u0000\ud7ff" + "x" * 40_000,
        "prompt_filter_results": [{"content_filter_results": verdicts}],
    }
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"content_filter_policy": "annotate"})
    await stack.fault(kind="lie", body=lies)
    status, headers, body = await stack.chat(stream=stream)
    entry = await only(stack)
    assert status == 200
    assert body.endswith(b"\n\n") if stream else "x-gateway-content-filter" in headers
    assert "set-cookie" not in headers
    assert entry["service_tier"] == "??" + "x" * 62
    assert "a?b?c??Set-Cookie? d:filtered" in entry["content_filter"]
    assert len(entry["content_filter"]) < 400


async def test_no_more_findings_are_booked_than_a_content_filter_has(stack: Stack) -> None:
    verdicts = {f"category {number}": {"detected": True} for number in range(5_000)}
    await stack.fault(kind="lie", body={"prompt_filter_results": [{"content_filter_results": verdicts}]})
    await stack.chat()
    assert len((await only(stack))["content_filter"].split(",")) == 64


@pytest.mark.parametrize("response_id", ["x" * 40_000, "", "~odd", "r\u00e9sp", 7, None])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_whose_id_cannot_be_stored_is_booked_all_the_same(
    stack_on_tables: Stack, response_id: Any, stream: bool
) -> None:
    stack = stack_on_tables
    await stack.fault(kind="lie", body={"id": response_id})
    status, _, body = await stack.infer("responses", "gpt-4o", {"input": "Hello!", "stream": stream}, dated=False)
    entry, record = await only(stack), (await stack.requests())[-1]
    assert (status, b"ledger_unavailable" in body) == (200, False)
    assert (entry["estimated"], entry["tokens"]) == (False, record["usage"]["total_tokens"])


@pytest.mark.parametrize("response_id", ["x" * 40_000, "", 7])
async def test_a_background_response_whose_id_cannot_be_stored_is_charged_for_its_hold(
    stack: Stack, response_id: Any
) -> None:
    await stack.fault(kind="lie", body={"id": response_id})
    body = {"input": "Hello!", "background": True, "max_output_tokens": 77}
    status, _, _ = await stack.infer("responses", "gpt-4o", body, dated=False)
    entry = await only(stack)
    assert (status, entry["error_code"], entry["usage"]["output"]) == (200, "response_not_deferred", 77)


@pytest.mark.parametrize("duration", [1e300, 10**15, 0, -5, True, "3", None])
async def test_the_seconds_that_upstream_states_are_bounded(stack: Stack, duration: Any) -> None:
    await stack.fault(kind="lie", body={"duration": duration})
    status, _, _ = await stack.infer("audio/transcriptions", "whisper", form=form(response_format="verbose_json"))
    entry = await only(stack)
    is_huge = isinstance(duration, int | float) and duration > 1
    assert (status, entry["estimated"]) == (200, True)
    assert entry["usage"]["audio_seconds"] == (24 if is_huge else 3)


async def test_more_images_than_were_asked_for_are_bounded(stack: Stack) -> None:
    await stack.fault(kind="lie", body={"data": [{}] * 5_000})
    await stack.infer("images/generations", "dall-e-3", {"prompt": "A fox"})
    entry = await only(stack)
    assert (entry["usage"]["images"], entry["estimated"]) == (8, True)


async def test_the_context_of_a_response_fits_its_column(stack_on_tables: Stack) -> None:
    stack = stack_on_tables
    await stack.fault(kind="lie", body={"usage": {"input_tokens": HUGE, "output_tokens": HUGE}})
    status, _, body = await stack.infer("responses", "gpt-4o", {"input": "Hello!"}, dated=False)
    following = {"input": "And?", "previous_response_id": json.loads(body)["id"]}
    assert (status, (await stack.infer("responses", "gpt-4o", following, dated=False))[0]) == (200, 200)


@pytest.fixture
async def store(azurite: AzuriteAccount) -> AsyncIterator[TableStore]:
    over_http = RestTableStore(azurite.table_endpoint, SharedKey(ACCOUNT, azurite.key))
    yield over_http
    await over_http.aclose()


@pytest.fixture
def tenant() -> str:
    return f"t{secrets.token_hex(6)}"


REFUSED = Outcome(
    kind=EntryKind.CHARGE,
    amount=charge().amount,
    usage=charge().usage,
    status=200,
    error_code="\u0007" * 70_000,
    content_filter="hate:high",
    service_tier="x" * 70_000,
)


async def booked(ledger: TableLedger, lane: Lane) -> list[tuple[str, str, bool, int]]:
    entries = [entry async for entry in ledger.entries(lane, 1, 99)]
    return [
        (entry.kind.value, entry.outcome.error_code, entry.outcome.estimated, entry.amount.tokens)
        for entry in entries
        if entry.outcome
    ]


async def test_a_settlement_that_storage_refuses_is_booked_in_plain_form(store: TableStore, tenant: str) -> None:
    ledger = TableLedger(store, HashChain(KeyRing(keys={"0": b"test"})), ManualClock())
    held, other = reservation(tenant), reservation(tenant)
    for each in (held, other):
        await ledger.reserve(account(tenant), each)
    await ledger.settle(held, REFUSED)
    await ledger.settle(other, charge())
    first, second = await booked(ledger, held.lane)
    assert first == ("charge", RECORD_REFUSED, True, REFUSED.amount.tokens)
    assert second == ("charge", "", False, charge().amount.tokens)
    balance = await ledger.balance(Lane(tenant, PERIOD))
    assert balance is not None
    assert (balance.open_reservations, balance.used) == (0, REFUSED.amount + charge().amount)


async def test_an_expiry_and_its_late_settlement_that_storage_refuses_are_booked(
    store: TableStore, tenant: str
) -> None:
    ledger = TableLedger(store, HashChain(KeyRing(keys={"0": b"test"})), ManualClock())
    held = reservation(tenant)
    await ledger.reserve(account(tenant), held)
    await ledger.expire(held, Outcome(kind=EntryKind.EXPIRE, error_code="x" * 70_000))
    await ledger.settle(held, REFUSED)
    assert await booked(ledger, held.lane) == [
        ("expire", RECORD_REFUSED, True, 0),
        ("late", RECORD_REFUSED, True, REFUSED.amount.tokens),
    ]


async def test_a_late_settlement_of_a_closed_period_that_storage_refuses_is_booked(
    store: TableStore, tenant: str
) -> None:
    clock = ManualClock()
    ledger = TableLedger(store, HashChain(KeyRing(keys={"0": b"test"})), clock)
    held = reservation(tenant)
    await ledger.reserve(account(tenant), held)
    await ledger.expire(held, Outcome(kind=EntryKind.EXPIRE, error_code="expired"))
    closing = Account(tenant_id=tenant, period=PERIOD, limit=account(tenant).limit)
    await ledger.begin_closing(closing)
    await ledger.close(closing)
    clock.seconds += 30 * 86_400
    await ledger.settle(held, REFUSED)
    await ledger.drain()
    (entry,) = await booked(ledger, Lane(tenant, "2026-12"))
    assert entry == ("adjust", RECORD_REFUSED, True, REFUSED.amount.tokens)
