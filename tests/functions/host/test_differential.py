"""A request gets the same bytes from the simulator and from the gateway, but for the gateway's own headers."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.functions.inference.test_operations import form
from tests.tools.stack import API_VERSION, SIMULATOR_KEY, Stack, eventually

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Grüße 🙂"}], "future_field": {"x": [1.0, None]}}
STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
REQUESTS: dict[str, tuple[str, str, Any]] = {
    "chat": ("chat/completions", "gpt-4o", CHAT),
    "chat stream": ("chat/completions", "gpt-4o", CHAT | STREAM),
    "chat with findings": (
        "chat/completions",
        "gpt-4o",
        {"messages": [{"role": "user", "content": "[annotate-prompt]"}]},
    ),
    "filtered prompt": ("chat/completions", "gpt-4o", {"messages": [{"role": "user", "content": "[filter-prompt]"}]}),
    "asynchronous filter": (
        "chat/completions",
        "gpt-4o",
        {"messages": [{"role": "user", "content": "[annotate-completion] [asynchronous-filter]"}], **STREAM},
    ),
    "refused": ("chat/completions", "o4-mini", {**CHAT, "max_tokens": 5}),
    "completions": ("completions", "gpt-35-turbo-instruct", {"prompt": ["Once", "Twice"]}),
    "completion stream": ("completions", "gpt-35-turbo-instruct", {"prompt": "Once", **STREAM}),
    "embeddings": ("embeddings", "text-embedding-3-small", {"input": "Hello", "encoding_format": "base64"}),
    "image": ("images/generations", "dall-e-3", {"prompt": "A fox"}),
    "image stream": ("images/generations", "gpt-image-1", {"prompt": "A fox", "stream": True, "partial_images": 2}),
    "transcript": ("audio/transcriptions", "whisper", {"response_format": "verbose_json"}),
    "transcript as text": ("audio/translations", "whisper", {"response_format": "srt"}),
    "transcript stream": ("audio/transcriptions", "gpt-4o-transcribe", {"stream": "true"}),
    "speech": ("audio/speech", "tts-hd", {"input": "Hello there", "voice": "alloy"}),
    "speech as events": ("audio/speech", "gpt-4o-mini-tts", {"input": "Hi", "voice": "alloy", "stream_format": "sse"}),
    "response": ("responses", "gpt-4o", {"input": "Hello!", "metadata": {"a": "b"}}),
    "response stream": ("responses", "gpt-4o", {"input": "Hello!", "stream": True}),
}
OF_AN_ANSWER = frozenset({"date", "server", "x-request-id", "apim-request-id", "content-length", "transfer-encoding"})


async def answered(
    stack: Stack, base: str, key: str, operation: str, model: str, body: Any, *, dated: bool
) -> tuple[int, dict[str, str], bytes]:
    """Send one request. Returns status, headers and bytes. Resets the simulator, so that its ids are equal."""
    await stack.session.delete(f"{stack.simulator_url}/_sim/requests")
    stack.simulator.cache._seen.clear()
    url = f"{base}/openai/v1/{operation}"
    if dated:
        middle = "" if operation == "responses" else f"/deployments/{model}"
        url = f"{base}/openai{middle}/{operation}?api-version={API_VERSION}"
    named = body if dated and operation != "responses" else {"model": model, **body}
    sent = {"data": form(**named)} if operation.startswith("audio/tr") else {"json": named}
    async with stack.session.post(url, headers={"api-key": key}, **sent) as answer:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, headers, await answer.read()


@pytest.mark.parametrize("dated", [True, False], ids=["dated", "v1"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_answers_are_equal_byte_for_byte(stack: Stack, name: str, dated: bool) -> None:
    operation, model, body = REQUESTS[name]
    straight = f"{stack.simulator_url}/swedencentral"
    wanted = await answered(stack, straight, SIMULATOR_KEY, operation, model, body, dated=dated)
    got = await answered(stack, stack.url, stack.key, operation, model, body, dated=dated)
    assert (got[0], got[2]) == (wanted[0], wanted[2])
    expected = {
        header: value
        for header, value in wanted[1].items()
        if header not in OF_AN_ANSWER and not header.startswith("x-ratelimit-")
    }
    assert {header: got[1].get(header) for header in expected} == expected
    added = {header for header in got[1] if header not in expected and header not in OF_AN_ANSWER}
    assert all(header.startswith("x-gateway-") for header in added)


NAMES = [
    "..", "%2e%2e", "%2E%2E%2F%2E%2E", "gpt-4o%2F..%2F..%2Fmodels", "gpt-4o%2fchat", "gpt-4o%3Fapi-version=x",
    "gpt-4o%23", "gpt-4o%00", "gpt-4o%0d%0aX-Evil:%201", "%252e%252e", "gpt%2D4o%20", "gpt-4o;x=1", "%ff%fe",
    "\u0261pt-4o", "gpt\u20114o", "\uff47pt-4o",
    "x" * 4_000, "gpt-4o%5c..%5c", "@evil.invalid", "gpt-4o%40evil.invalid", "%E2%80%AEo4-tpg", "gpt-4o%09", "%20",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("operation", ["chat/completions", "embeddings", "audio/speech"])
async def test_no_deployment_name_changes_the_path_upstream(stack: Stack, name: str, operation: str) -> None:
    body = {**CHAT, "input": "Hi", "voice": "alloy"}
    path = f"/openai/deployments/{name}/{operation}?api-version={API_VERSION}"
    async with stack.session.post(
        URL(stack.url + path, encoded=True), json=body, headers={"api-key": stack.key}
    ) as answer:
        assert answer.status in (400, 404)
    async with stack.session.post(
        f"{stack.url}/openai/v1/{operation}", json={**body, "model": name}, headers={"api-key": stack.key}
    ) as answer:
        assert answer.status in (400, 404)
    assert await stack.requests() == []


@pytest.mark.parametrize("name", [*NAMES[:9], "resp_1%2F..%2F..%2Fmodels", "a" * 3_000])
async def test_no_response_id_changes_the_path_upstream(stack: Stack, name: str) -> None:
    for method, part in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        url = URL(f"{stack.url}/openai/v1/responses/{name}{part}", encoded=True)
        async with stack.session.request(method, url, headers={"api-key": stack.key}) as answer:
            assert answer.status in (400, 404)
    assert await stack.requests() == []


HEADERS = [
    {"x-forwarded-host": "evil.invalid"}, {"x-original-url": "/openai/models"}, {"x-http-method-override": "DELETE"},
    {"host": "evil.invalid"}, {"authorization": "Bearer x", "api-key": "{key}"}, {"x-ms-client-request-id": "a\u00fcb"},
    {"user-agent": "x" * 4_000}, {"openai-beta": "responses=v1, evil"},
    {"x-gateway-user": "../../x"}, {"azureml-model-deployment": "other"}, {"api-version": "x"},
]  # fmt: skip


@pytest.mark.parametrize("sent", HEADERS, ids=lambda sent: next(iter(sent)))
async def test_no_header_of_a_caller_changes_the_path_or_reaches_the_backend_unasked(
    stack: Stack, sent: dict[str, str]
) -> None:
    headers = {"api-key": stack.key} | {name: value.format(key=stack.key) for name, value in sent.items()}
    async with stack.session.post(stack.chat_url, json=CHAT, headers=headers) as answer:
        assert answer.status == 200
    (record,) = await stack.requests()
    assert record["path"] == f"/swedencentral/openai/deployments/gpt-4o/chat/completions?api-version={API_VERSION}"
    passed = {"accept", "user-agent", "openai-beta", "x-ms-client-request-id", "x-ms-useragent", "traceparent"}
    own = {"host", "content-type", "content-length", "accept-encoding"}
    assert set(record["headers"]) <= passed | own
    assert record["headers"]["host"] in stack.simulator_url
    assert stack.key not in json.dumps(record)


@pytest.mark.parametrize("head", [b"api-key: {key}\r\nx: a\rb", b"api-key: {key}\x00", b"x-gateway-user: a\nb: c"])
async def test_malformed_headers_are_refused(stack: Stack, head: bytes) -> None:
    host, _, port = stack.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({**CHAT, "model": "gpt-4o"}).encode()
    lines = head.replace(b"{key}", stack.key.encode())
    writer.write(
        b"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n%b\r\n\r\n%b" % (len(body), lines, body)
    )
    answer = await reader.read()
    writer.close()
    assert answer.split()[1] in (b"400", b"401")
    assert await stack.requests() == []


FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 500}, {"kind": "status", "status": 429, "headers": {"retry-after-ms": "1"}},
    {"kind": "status", "status": 400, "body": {"error": {"code": "bad"}}}, {"kind": "status", "status": 503},
]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
async def test_the_books_equal_the_records_of_the_simulator_for_every_operation_with_faults(
    stack: Stack, seed: int
) -> None:
    chosen = random.Random(seed)
    for fault in FAULTS:
        await stack.fault(**fault, count=3)
    await stack.fault(kind="break", deployment="gpt-4o", count=1, after_chunks=5)
    await stack.fault(kind="no_usage", deployment="text-embedding-3-small", count=1)
    slots = asyncio.Semaphore(8)

    async def one(number: int) -> None:
        operation, model, body = REQUESTS[chosen.choice(sorted(REQUESTS))]
        if operation.startswith("audio/tr"):
            async with slots:
                await stack.infer(operation, model, form=form(**body, model=model), dated=False)
        elif number % 5 == 0 and body.get("stream"):
            await _leave(stack, operation, model, body)
        else:
            async with slots:
                await stack.infer(operation, model, body, dated=False)

    await asyncio.gather(*(one(number) for number in range(90)), return_exceptions=False)
    await eventually(lambda: not stack.simulator.transports)
    await stack.settled()
    booked, billed = _booked(await stack.entries()), _billed(await stack.requests())
    assert booked == billed
    usage = await stack.usage()
    assert (usage["tokens_used"], usage["tokens_reserved"]) == (booked["tokens"], 0)
    gateway = await stack.gateway()
    await gateway.ledger.roll_up_usage()
    assert [found async for _, found in gateway.ledger.verify(usage["period"])] == [[]]


async def _leave(stack: Stack, operation: str, model: str, body: Any) -> None:
    """Begin to read a stream, and hang up. The gateway drains it."""
    url = f"{stack.url}/openai/v1/{operation}"
    async with stack.session.post(url, json={"model": model, **body}, headers={"api-key": stack.key}) as answer:
        try:
            await answer.content.readany()
        except aiohttp.ClientError:
            return
        answer.close()


def _booked(entries: list[dict[str, Any]]) -> dict[str, int]:
    """Return the charged quantities. Images and characters do not count for models priced by token."""
    return {
        "tokens": sum(entry["tokens"] for entry in entries),
        "images": sum(entry["usage"]["images"] for entry in entries if entry["model"] == "dall-e-3"),
        "characters": sum(entry["usage"]["speech_characters"] for entry in entries if entry["model"] == "tts-hd"),
        "seconds": sum(entry["usage"]["audio_seconds"] for entry in entries if entry["model"] == "whisper"),
    }


def _billed(records: list[dict[str, Any]]) -> dict[str, int]:
    """Return the quantities that the simulator recorded for the same models."""
    names = {"tokens": "total_tokens", "images": "images", "characters": "characters", "seconds": "seconds"}
    return {unit: sum((record["usage"] or {}).get(name, 0) for record in records) for unit, name in names.items()}
