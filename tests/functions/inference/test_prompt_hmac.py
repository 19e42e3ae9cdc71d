"""A tenant that asks for it finds equal prompts in its entries, without their content."""

from __future__ import annotations

import hmac
import io
import json
from hashlib import sha256
from typing import Any

import aiohttp
import pytest

from tests.tools.sounds import wav
from tests.tools.stack import PRIVACY_KEY, Stack


def expected(stack: Stack, prompt: object) -> str:
    """Compute the value as docs/reference/data.md defines it."""
    key = hmac.digest(PRIVACY_KEY.encode(), b"tallygate/prompts/" + stack.tenant.encode(), sha256)
    key_id = hmac.digest(PRIVACY_KEY.encode(), b"tallygate/key-id", sha256).hex()[:8]
    canonical = json.dumps(prompt, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return f"{key_id}.{hmac.digest(key, canonical, sha256).hex()}"


async def ask(stack: Stack) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"prompt_hmac": True})


async def hashes(stack: Stack) -> list[str]:
    await stack.settled()
    return [entry["prompt_hmac"] for entry in await stack.entries()]


async def test_no_entry_has_one_unless_its_tenant_asks(stack: Stack) -> None:
    await stack.chat("Hello!")
    await ask(stack)
    await stack.chat("Hello!")
    first, second = await hashes(stack)
    assert first == ""
    assert second == expected(stack, {"messages": [{"role": "user", "content": "Hello!"}]})


async def test_parameters_and_notation_do_not_matter_but_the_prompt_does(stack: Stack) -> None:
    await ask(stack)
    same: list[dict[str, Any]] = [
        {},
        {"temperature": 0.5, "max_tokens": 7, "user": "ann", "stream": True, "tool_choice": "none"},
        {"messages": [{"content": "Zo\\u00eb", "role": "user"}], "metadata": {"a": "b"}},
    ]
    for fields in same:
        body = json.dumps(
            {"messages": [{"role": "user", "content": "Zo\u00eb"}], **fields}, ensure_ascii=bool(fields)
        ).replace("\\\\u", "\\u")
        async with stack.session.post(stack.chat_url, data=body, headers={"api-key": stack.key}) as response:
            await response.read()
            assert response.status == 200
    await stack.chat("Zo\u00e9")
    *equal, other = await hashes(stack)
    assert set(equal) == {expected(stack, {"messages": [{"role": "user", "content": "Zo\u00eb"}]})}
    assert other not in equal


TEXT = {"prompt": "Once", "suffix": "end"}
RESPONSE = {"input": "Hi", "instructions": "Be brief"}
OPERATIONS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("completions", "gpt-35-turbo-instruct", {**TEXT, "max_tokens": 5}, TEXT),
    ("embeddings", "text-embedding-3-small", {"input": [[15339]], "dimensions": 9}, {"input": [[15339]]}),
    ("images/generations", "dall-e-3", {"prompt": "A fox", "size": "1024x1024"}, {"prompt": "A fox"}),
    ("audio/speech", "tts-hd", {"input": "Hi", "voice": "alloy", "instructions": None}, {"input": "Hi"}),
    ("responses", "gpt-4o", {**RESPONSE, "store": False}, RESPONSE),
]


@pytest.mark.parametrize(("operation", "model", "body", "prompt"), OPERATIONS, ids=[each[0] for each in OPERATIONS])
async def test_each_operation_has_its_prompt(
    stack: Stack, operation: str, model: str, body: dict[str, Any], prompt: dict[str, Any]
) -> None:
    await ask(stack)
    status, _, answer = await stack.infer(operation, model, body, dated=False)
    assert status == 200, answer
    assert await hashes(stack) == [expected(stack, prompt)]


@pytest.mark.parametrize("text", ["", "about foxes"])
async def test_the_prompt_of_sound_is_its_text_and_the_hash_of_the_file(stack: Stack, text: str) -> None:
    await ask(stack)
    for model, filename in (("whisper", "a.wav"), ("whisper", "b.wav")):
        form = aiohttp.FormData()
        form.add_field("temperature", "0")
        if text:
            form.add_field("prompt", text)
        form.add_field("file", io.BytesIO(wav(2.0)), filename=filename, content_type="audio/wav")
        assert (await stack.infer("audio/transcriptions", model, form=form))[0] == 200
    prompt = {"file_sha256": sha256(wav(2.0)).hexdigest()} | ({"prompt": text} if text else {})
    assert set(await hashes(stack)) == {expected(stack, prompt)}


async def test_a_large_prompt_is_hashed_alike(stack: Stack) -> None:
    await ask(stack)
    await stack.chat("word " * 20_000)
    assert await hashes(stack) == [expected(stack, {"messages": [{"role": "user", "content": "word " * 20_000}]})]


async def test_all_attempts_of_a_request_have_it_and_tenants_differ(stack: Stack) -> None:
    await ask(stack)
    await stack.pool("swedencentral", "germanywestcentral")
    await stack.fault(kind="status", status=500)
    assert (await stack.chat("Hello!"))[0] == 200
    values = await hashes(stack)
    assert (len(values), len(set(values))) == (2, 1)
    other = await stack.register(f"{stack.tenant[:20]}-b", prompt_hmac=True)
    await stack.chat("Hello!", key=other)
    await stack.settled()
    (entry,) = await stack.entries(f"{stack.tenant[:20]}-b")
    assert entry["prompt_hmac"] not in ("", values[0])
