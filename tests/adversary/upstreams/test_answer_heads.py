"""Upstreams whose headers speak for the gateway, for the connection, or break it."""

from __future__ import annotations

import asyncio
import gzip
import json

import aiohttp
import pytest

from tests.tools.scripted_backend import EVENT, Script, scripted_backend
from tests.tools.stack import Stack

USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
BODY = json.dumps({"choices": [{"index": 0, "message": {"content": "hello"}}], "usage": USAGE}).encode()


def with_headers(*lines: bytes, body: bytes = BODY, kind: bytes = b"application/json") -> Script:
    """Answer with these header lines in addition."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        head = [b"HTTP/1.1 200 OK", b"Content-Type: " + kind, b"Content-Length: %d" % len(body), *lines]
        writer.write(b"\r\n".join(head) + b"\r\n\r\n" + body)

    return answer


async def test_a_backend_cannot_speak_for_the_gateway_or_its_origin(stack: Stack) -> None:
    script = with_headers(
        b"Access-Control-Allow-Origin: *", b"access-control-allow-credentials: true", b"Set-Cookie: a=b",
        b"X-Gateway-Quota-Remaining-Tokens: 999", b"x-gateway-request-id: forged", b"X-Gateway-Invented: 1",
        b"Clear-Site-Data: \"*\"", b"Connection: X-Secret, keep-alive", b"X-Secret: 1", b"Keep-Alive: timeout=5",
        b"Location: https://example.com", b"x-ratelimit-remaining-tokens: 1", b"x-ms-region: Sweden Central",
    )  # fmt: skip
    async with scripted_backend(stack, script):
        status, headers, _ = await stack.chat()
        assert status == 200
        assert headers["x-ms-region"] == "Sweden Central"
        assert headers["x-gateway-request-id"] != "forged"
        own = {"x-gateway-attempts", "x-gateway-backend", "x-gateway-cache", "x-gateway-region", "x-gateway-request-id"}
        assert set(headers) == own | {"content-type", "content-length", "x-ms-region", "date", "server"}


async def test_names_that_a_backend_invents_take_no_memory(stack: Stack) -> None:
    async with scripted_backend(stack, with_headers(*(b"x-invented-%d: 1" % number for number in range(100)))):
        assert (await stack.chat())[0] == 200
        from shared.http.inference import headers

        for number in range(10_000):
            assert headers._returned[b"x-%d" % number]
        assert len(headers._returned) <= 512


@pytest.mark.parametrize(
    "lines",
    [
        [b"x-%d: %b" % (number, b"y" * 1000) for number in range(1000)],
        [b"x: " + b"y" * 1_000_000],
        [b"Transfer-Encoding: chunked"],
        [b"x name: 1"],
    ],
)
async def test_a_head_without_measure_or_sense_is_a_broken_answer(stack: Stack, lines: list[bytes]) -> None:
    async with scripted_backend(stack, with_headers(*lines)):
        status, _, body = await stack.chat()
        await stack.settled()
        (entry,) = await stack.entries()
        assert (status, body["error"]["code"]) == (502, "backend_error")
        assert (entry["kind"], entry["estimated"], entry["error_code"]) == ("charge", True, "backend_error")


async def test_a_stream_whose_head_the_server_refuses_is_booked_and_its_place_is_free(stack: Stack) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"on_disconnect": "cut"})
    script = with_headers(b"x-a: b\x01c", body=EVENT, kind=b"text/event-stream")
    async with scripted_backend(stack, script, max_concurrent_requests=1):
        with pytest.raises((aiohttp.ClientError, ValueError)):
            await stack.chat(stream=True)
        await stack.settled()
        (entry,) = await stack.entries()
        assert (entry["kind"], entry["error_code"]) == ("charge", "gateway_failed")
        assert (await stack.health())["scripted"]["in_flight"] == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_compressed_answer_nobody_asked_for_is_broken_and_never_inflated(stack: Stack, stream: bool) -> None:
    bomb = gzip.compress(b"x" * 10_000_000)
    kind = b"text/event-stream" if stream else b"application/json"
    async with scripted_backend(stack, with_headers(b"Content-Encoding: gzip", body=bomb, kind=kind)):
        status, _, body = await stack.chat(stream=stream)
        await stack.settled()
        (entry,) = await stack.entries()
        assert (status, body["error"]["code"]) == (502, "backend_error")
        assert (entry["kind"], entry["error_code"]) == ("charge", "backend_error")


async def test_a_stream_that_says_identity_is_served(stack: Stack) -> None:
    script = with_headers(b"Content-Encoding: identity", body=EVENT + b"data: [DONE]\n\n", kind=b"text/event-stream")
    async with scripted_backend(stack, script):
        status, _, body = await stack.chat(stream=True)
        assert (status, body) == (200, EVENT + b"data: [DONE]\n\n")
