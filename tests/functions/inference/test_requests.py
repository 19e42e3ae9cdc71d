"""Bad requests get the documented errors, and callers cannot change what the backend receives."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import Any

import pytest
from yarl import URL

from tests.tools.ledgers import FaultyStore
from tests.tools.stack import API_VERSION, Stack

MESSAGES = [{"role": "user", "content": "Hello!"}]


async def post(stack: Stack, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    sent = {"api-key": stack.key, "content-type": "application/json", **headers}
    url = URL(stack.url + path, encoded=True)
    async with stack.session.post(url, data=body, headers=sent) as response:
        return response.status, await response.json() if response.content_type == "application/json" else {}


CHAT = f"/openai/deployments/gpt-4o/chat/completions?api-version={API_VERSION}"


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param"),
    [
        (CHAT, b"{", 400, "invalid_request", None),
        (CHAT, b"[]", 400, "invalid_request", None),
        (CHAT, b'{"messages": ' + b"[" * 100_000, 400, "invalid_request", None),
        (CHAT, b'{"messages": "\\ud800"}', 400, "invalid_request", None),
        (CHAT, b"{}", 400, "invalid_request", "messages"),
        (CHAT, b'{"messages": []}', 400, "invalid_request", "messages"),
        (CHAT.partition("?")[0], b'{"messages": [{}]}', 400, "invalid_request", "api-version"),
        (f"{CHAT}%21", b'{"messages": [{}]}', 400, "invalid_request", "api-version"),
        ("/openai/v1/chat/completions", b'{"messages": [{}]}', 400, "invalid_request", "model"),
        ("/openai/v1/chat/completions", b'{"messages": [{}], "model": 7}', 400, "invalid_request", "model"),
        (CHAT.replace("gpt-4o", "%ff"), b"{}", 400, "invalid_request", None),
        (CHAT.replace("gpt-4o", "gpt-4o%00"), b'{"messages": [{}]}', 404, "DeploymentNotFound", None),
        (CHAT.replace("gpt-4o", "gpt-4o%2F..%2Fx"), b'{"messages": [{}]}', 404, "DeploymentNotFound", None),
        (CHAT.replace("gpt-4o", "gpt-4o%3Fx"), b'{"messages": [{}]}', 404, "DeploymentNotFound", None),
        (CHAT.replace("gpt-4o", "gpt-4o%23"), b'{"messages": [{}]}', 404, "DeploymentNotFound", None),
        (CHAT.replace("gpt-4o", "gpt-4o%0d%0ax"), b'{"messages": [{}]}', 404, "DeploymentNotFound", None),
        (CHAT.replace("gpt-4o", "x" * 3000), b'{"messages": [{}]}', 404, "DeploymentNotFound", None),
    ],
)
async def test_bad_requests_get_the_stated_error(
    stack: Stack, path: str, body: bytes, status: int, code: str, param: str | None
) -> None:
    got, answer = await post(stack, path, body)
    assert (got, answer["error"]["code"], answer["error"]["param"]) == (status, code, param)
    assert await stack.requests() == []
    assert await stack.entries() == []


@pytest.mark.parametrize("name", ["%2e%2e", "..", "gpt-4o/..", "%2e%2e/gpt-4o"])
async def test_dot_segments_find_no_route(stack: Stack, name: str) -> None:
    status, _ = await post(stack, CHAT.replace("gpt-4o", name), b'{"messages": [{}]}')
    assert status == 404
    assert await stack.requests() == []


async def test_a_deployment_name_may_hold_any_character_and_stays_one_segment(stack: Stack) -> None:
    definition = {
        "endpoint": f"{stack.simulator_url}/swedencentral",
        "upstream_deployment": "a/b c#d",
        "model": "gpt-4o",
    }
    await stack.manage("PUT", "/manage/backends/odd", {**definition, "region": "swedencentral", "auth": "api_key"})
    await stack.manage("PUT", "/manage/deployments/x%2Fy%20z%23", {"backends": ["odd"]})
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"deployments": ["x/y z#"]})
    status, _ = await post(stack, CHAT.replace("gpt-4o", "x%2Fy%20z%23"), b'{"messages": [{"role": "user"}]}')
    (record,) = await stack.requests()
    assert status == 200
    assert record["path"].startswith("/swedencentral/openai/deployments/a%2Fb%20c%23d/chat/completions?")


async def test_a_body_over_the_limit_is_refused_unread(stack: Stack) -> None:
    body = io.BytesIO(b'{"messages": "' + b"x" * (21 * 1024 * 1024))
    async with stack.session.post(stack.url + CHAT, data=body, headers={"api-key": stack.key}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (413, "request_too_large")


async def test_a_chunked_body_over_the_limit_is_refused_while_it_is_read(stack: Stack) -> None:
    async def chunks() -> Any:
        for _ in range(21):
            yield b"x" * 1024 * 1024

    async with stack.session.post(stack.url + CHAT, data=chunks(), headers={"api-key": stack.key}) as response:
        assert response.status == 413


async def test_a_body_that_never_ends_is_not_booked(stack: Stack) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(stack.url.rpartition(":")[2]))
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\napi-key: {stack.key}\r\nContent-Length: 100\r\n\r\n{{"
    writer.write(head.encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await stack.chat())[0] == 200
    assert len(await stack.requests()) == 1
    del reader


async def test_nothing_is_served_while_the_ledger_cannot_be_reached(stack: Stack) -> None:
    ledger: Any = (await stack.gateway()).ledger.books
    store = FaultyStore(ledger._store, is_down=True)
    ledger._store = store
    status, headers, body = await stack.chat()
    assert (status, body["error"]["code"], headers["retry-after"]) == (503, "ledger_unavailable", "5")
    async with stack.session.get(f"{stack.url}/readyz") as response:
        assert (response.status, (await response.json())["checks"]["ledger"]) == (503, "failed")
    assert await stack.requests() == []
    store.is_down = False
    assert (await stack.chat())[0] == 200


async def test_a_compressed_body_is_refused(stack: Stack) -> None:
    status, answer = await post(stack, CHAT, b"x", **{"content-encoding": "gzip"})
    assert (status, answer["error"]["param"]) == (400, "Content-Encoding")


async def test_another_tenants_deployment_is_not_found_like_an_unknown_one(stack: Stack) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"deployments": ["gpt-4o"]})
    answers = []
    for name in ("gpt-4o-mini", "unknown"):
        status, _, answer = await stack.chat(url=stack.chat_url.replace("/gpt-4o/", f"/{name}/"))
        answers.append((status, answer["error"]["code"], answer["error"]["message"].partition(" (request")[0]))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


async def test_bodies_reach_the_backend_byte_for_byte(stack: Stack) -> None:
    body = b'{ "messages" : [ {"role":"user","content":"Hi"} ], "new_field": 1.50, "seed": 12345678901234567890 }'
    await post(stack, CHAT, body)
    (record,) = await stack.requests()
    assert int(record["headers"]["content-length"]) == len(body)
    assert record["body"]["new_field"] == 1.5


async def test_the_model_of_the_v1_family_is_renamed_for_the_backend_and_nothing_else(stack: Stack) -> None:
    await stack.manage("PUT", "/manage/deployments/chat", {"backends": ["se-gpt-4o"], "max_output_tokens": 12})
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"deployments": ["chat"]})
    body = b'{"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "seed": 1.0, "max_tokens": null}'
    status, answer = await post(stack, "/openai/v1/chat/completions?api-version=preview", body)
    (record,) = await stack.requests()
    assert (status, answer["usage"]["completion_tokens"]) == (200, 12)
    assert record["body"]["model"] == "gpt-4o"
    assert record["body"]["max_tokens"] == 12
    assert record["api_version"] == "preview"


async def test_headers_of_a_caller_do_not_reach_the_backend(stack: Stack) -> None:
    headers = {"cookie": "a=b", "x-forwarded-for": "1.2.3.4", "x-ms-client-request-id": "mine", "x-gateway-user": "ann"}
    await post(stack, CHAT, b'{"messages": [{"role": "user"}]}', **headers)
    (record,), (entry,) = await stack.requests(), await stack.entries()
    assert {"cookie", "x-forwarded-for", "x-gateway-user"}.isdisjoint(record["headers"])
    assert record["headers"]["x-ms-client-request-id"] == "mine"
    assert entry["user"] == "ann"


async def test_a_backend_gets_the_request_id_of_the_entry_unless_the_caller_sent_one(stack: Stack) -> None:
    _, headers, _ = await stack.chat()
    (record,), (entry,) = await stack.requests(), await stack.entries()
    sent = record["headers"]["x-ms-client-request-id"]
    assert sent == entry["request_id"] == headers["x-gateway-request-id"]


async def test_answers_name_the_backend_and_the_remaining_quota(stack: Stack) -> None:
    await stack.manage(
        "PATCH", f"/manage/tenants/{stack.tenant}", {"monthly_quota_tokens": 10_000, "monthly_budget_usd": "2"}
    )
    _, headers, _ = await stack.chat()
    assert headers["x-gateway-quota-remaining-tokens"] == "9951"
    assert headers["x-gateway-budget-remaining-usd"] == "1.9995775"
    assert headers["x-gateway-region"] == "swedencentral"
    assert headers["x-ms-region"] == "Sweden Central"
    assert not [name for name in headers if name.startswith("x-ratelimit")]


async def test_quota_and_budget_refusals_tell_sdks_not_to_retry(stack: Stack) -> None:
    for change, code in (
        ({"monthly_quota_tokens": 0}, "quota_exceeded"),
        ({"monthly_quota_tokens": None, "monthly_budget_usd": "0"}, "budget_exceeded"),
    ):
        await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", change)
        status, headers, body = await stack.chat()
        assert (status, body["error"]["code"], headers["x-should-retry"]) == (429, code, "false")
        assert int(headers["retry-after"]) >= 1
        assert headers["x-gateway-request-id"] in body["error"]["message"]
    assert await stack.requests() == []


async def test_a_model_without_a_price_is_refused(stack: Stack) -> None:
    definition = {"endpoint": f"{stack.simulator_url}/eastus", "upstream_deployment": "gpt-4o", "model": "gpt-unpriced"}
    await stack.manage("PUT", "/manage/backends/se-gpt-4o", {**definition, "region": "eastus", "auth": "api_key"})
    status, _, body = await stack.chat()
    assert (status, body["error"]["code"]) == (424, "unpriced_model")
    assert await stack.requests() == []


async def test_data_stays_where_the_tenant_allows_it(stack: Stack) -> None:
    await stack.set_residency("us")
    status, _, body = await stack.chat()
    assert (status, body["error"]["code"]) == (403, "residency_violation")
    assert await stack.requests() == []


async def test_neither_prompt_nor_key_is_ever_logged(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await stack.chat("a very secret prompt")
        await stack.chat("a very secret prompt", key="tg_acme-00000000_secret-that-is-wrong")
        await stack.chat("a very secret prompt", max_tokens=10**9)
    for secret in ("a very secret prompt", stack.key.split("_", 2)[2], "secret-that-is-wrong"):
        assert secret not in caplog.text


async def test_parts_of_content_are_counted_and_images_bounded(stack: Stack) -> None:
    parts: Any = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:,x"}}, 7]
    messages: Any = [
        {"role": "user", "name": "ann", "content": parts[:2]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "42"},
    ]
    status, _, _ = await stack.chat(messages=messages, max_tokens=5)
    (entry,), (record,) = await stack.entries(), await stack.requests()
    assert status == 200
    assert entry["usage"]["input_tokens"] == record["usage"]["prompt_tokens"]
    assert entry["reserved_tokens"] >= record["usage"]["total_tokens"]


async def test_counting_a_large_prompt_delays_no_other_request(stack: Stack) -> None:
    status, _, body = await stack.chat("words and more words " * 20_000, max_tokens=5)
    (entry,) = await stack.entries()
    assert status == 200
    assert body["usage"]["prompt_tokens"] <= entry["reserved_tokens"]


async def test_rate_limits_are_shown_on_every_answer_and_refusals_state_the_time_to_wait(stack: Stack) -> None:
    limits = {"requests_per_minute": 3, "tokens_per_minute": 100_000}
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", limits)
    headers = {"api-key": stack.key}
    body: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 10}
    for more, left in (({}, "2"), ({"stream": True}, "1")):
        async with stack.session.post(stack.chat_url, json=body | more, headers=headers) as response:
            assert response.status == 200
            assert response.headers["x-ratelimit-limit-requests"] == "3"
            assert response.headers["x-ratelimit-remaining-requests"] == left
            assert response.headers["x-ratelimit-reset-requests"].endswith("s")
            assert 0 < int(response.headers["x-ratelimit-remaining-tokens"]) < 100_000
            await response.read()
    await stack.fault(kind="status", status=500)
    async with stack.session.post(stack.chat_url, json=body, headers=headers) as response:
        assert (response.status, response.headers["x-ratelimit-remaining-requests"]) == (502, "0")
    async with stack.session.post(stack.chat_url, json=body, headers=headers) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 0 < int(response.headers["retry-after-ms"]) <= 20_000
        assert int(response.headers["Retry-After"]) == -(-int(response.headers["retry-after-ms"]) // 1000)
        assert response.headers["x-ratelimit-remaining-requests"] == "0"
        assert "x-should-retry" not in response.headers


@pytest.mark.parametrize("limit", ["tokens_per_minute", "max_tokens_per_request"])
async def test_a_request_larger_than_the_rate_limit_is_refused_for_good(stack: Stack, limit: str) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {limit: 500})
    async with stack.session.post(
        stack.chat_url, json={"messages": MESSAGES, "max_tokens": 1000}, headers={"api-key": stack.key}
    ) as response:
        error = (await response.json())["error"]
    assert (response.status, error["code"], error["param"]) == (400, "invalid_request", "max_tokens")
    assert "500 tokens per" in error["message"]
    assert await stack.requests() == []
