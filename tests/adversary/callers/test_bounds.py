"""The most that a backend could bill for an accepted request is held, or the entry says that the hold bounds it not.

The bill is computed here from OpenAI's published rules alone, without a line of the gateway's formats.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.azure_openai.formats.all_formats import FORMATS
from shared.adapters.azure_openai.tokenizer import SplintrTokenizer
from shared.application.inference.admit_attempt import margin, output_bound
from shared.domain.inference.parsed_body import ParsedBody
from shared.domain.routing.catalog import Deployment
from tests.tools.sounds import mp3, wav_that_claims
from tests.tools.stack import Stack

TOKENIZER = SplintrTokenizer()
DEPLOYMENT = Deployment(name="d", backends=("b",), max_output_tokens=500)
SIDES: Final = (1, 31, 33, 512, 513, 767, 769, 2_047, 2_049, 6_000, 10_000)
MODELS: Final = (
    "gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano", "gpt-5", "gpt-5-mini", "gpt-5.4", "o1",
    "o4-mini",
)  # fmt: skip
CONTEXTS: Final = {"gpt-4o": 128_000, "gpt-4.1": 1_047_576, "gpt-5": 400_000, "gpt-5.4": 1_050_000, "o": 200_000}


def tiled(width: int, height: int, base: int, tile: int, detail: str) -> int:
    """Fit into 2,048 pixels, make the shorter side 768 pixels, and count tiles of 512."""
    if detail == "low":
        return base
    scale = min(1.0, 2_048 / max(width, height))
    scale *= min(1.0, 768 / max(1.0, min(width, height) * scale))
    return base + tile * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)


def patched(width: int, height: int, multiplier: float, budget: int) -> int:
    """Count patches of 32 pixels, up to a budget."""
    return math.ceil(min(budget, math.ceil(width / 32) * math.ceil(height / 32)) * multiplier)


def image_bill(model: str, detail: str) -> int:
    """Return what the dearest image costs."""
    bases = {"gpt-4o": (85, 170), "gpt-4o-mini": (2_833, 5_667), "gpt-5": (70, 140), "o1": (75, 150)}
    multipliers = {"gpt-4.1": 1.0, "gpt-4.1-mini": 1.62, "gpt-4.1-nano": 2.46, "gpt-5-mini": 1.62, "o4-mini": 1.72}
    sizes = list(product(SIDES, SIDES))
    if model in bases:
        return max(tiled(*size, *bases[model], detail) for size in sizes)
    if model in multipliers:
        return max(patched(*size, multipliers[model], 1_536) for size in sizes)
    return max(patched(*size, 1.2, 10_000) for size in sizes)


def file_bill(model: str) -> int:
    """Return the cost of a file that fills the context. gpt-4o-mini bills 33 tokens for one of an image."""
    family = max((name for name in CONTEXTS if model.startswith(name)), key=len)
    return CONTEXTS[family] * (33 if model == "gpt-4o-mini" else 1)


def strings_in(value: Any) -> Iterator[str]:
    """Yield every string that a model could read, with the names of members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from strings_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings_in(each)


def text_bill(value: Any, model: str) -> int:
    return sum(TOKENIZER.count(text, model) for text in strings_in(value))


def held(operation: str, body: dict[str, Any], model: str) -> tuple[ParsedBody, int, int]:
    """Return a request with the tokens that are held for its input and its output."""
    parsed = FORMATS[operation].read_request(json.dumps(body).encode(), "application/json")
    count = sum(TOKENIZER.count(text, model) for text in parsed.texts)
    media = parsed.media(model).usual if parsed.media else 0
    predicted = sum(TOKENIZER.count(text, model) for text in parsed.predictions)
    inputs = parsed.fixed_tokens + count + media + margin(parsed, model)
    return parsed, inputs, output_bound(parsed, DEPLOYMENT, predicted)


TEXT = st.text(max_size=40) | st.sampled_from(["word " * 200, "\U0001f600" * 50, "a" * 500, "株式会社" * 40])
DETAIL = st.sampled_from(["low", "high", "auto", "original"])
SCHEMA = st.fixed_dictionaries(
    {"description": TEXT, "properties": st.dictionaries(st.text(max_size=5), TEXT, max_size=3)}
)
PART = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}),
    st.fixed_dictionaries(
        {"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": st.just("x"), "detail": DETAIL})}
    ),
    st.just({"type": "file", "file": {"file_data": "A" * 600, "filename": "a.pdf"}}),
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant", "tool"]), "content": TEXT | st.lists(PART, max_size=3)},
    optional={
        "name": st.text(min_size=1, max_size=8),
        "tool_calls": st.lists(st.fixed_dictionaries({"id": TEXT, "function": SCHEMA}), max_size=2),
        "function_call": st.fixed_dictionaries({"name": TEXT, "arguments": TEXT}),
        "reasoning_content": TEXT,
    },
)
CHAT = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE, min_size=1, max_size=3)},
    optional={
        "max_tokens": st.none() | st.integers(1, 1_000),
        "max_completion_tokens": st.none() | st.integers(1, 1_000),
        "n": st.none() | st.integers(1, 4),
        "tools": st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": SCHEMA}), max_size=2),
        "functions": st.lists(SCHEMA, max_size=2),
        "response_format": st.fixed_dictionaries({"type": st.just("json_schema"), "json_schema": SCHEMA}),
        "prediction": st.fixed_dictionaries({"type": st.just("content"), "content": TEXT}),
    },
)  # fmt: skip


def chat_bill(body: dict[str, Any], model: str) -> tuple[int, int]:
    """Return the most input and output tokens: three a message, one a name, and rejected predictions as output."""
    inputs, has_file = 3, False
    for message in body["messages"]:
        inputs += 3 + ("name" in message)
        for name, value in message.items():
            parts = value if name == "content" and isinstance(value, list) else []
            inputs += 0 if parts else sum(TOKENIZER.count(text, model) for text in strings_in(value))
            for part in parts:
                has_file = has_file or part["type"] == "file"
                inputs += TOKENIZER.count(part.get("text", ""), model)
                inputs += image_bill(model, part["image_url"]["detail"]) if part["type"] == "image_url" else 0
    for name in ("tools", "functions", "response_format"):
        inputs += text_bill(body.get(name), model)
    cap = max(body.get("max_tokens") or 0, body.get("max_completion_tokens") or 0) or 500
    predicted = TOKENIZER.count(body.get("prediction", {}).get("content", ""), model)
    return inputs + has_file * file_bill(model), (body.get("n") or 1) * (cap + predicted)


@given(body=CHAT, model=st.sampled_from(MODELS))
def test_a_chat_holds_all_that_could_be_billed(body: dict[str, Any], model: str) -> None:
    parsed, inputs, outputs = held("chat/completions", body, model)
    most_input, most_output = chat_bill(body, model)
    assert inputs >= most_input
    assert outputs >= most_output
    assert parsed.media is None or parsed.media(model).is_bounded


INPUT_PART = st.one_of(
    st.fixed_dictionaries({"type": st.just("input_text"), "text": TEXT}),
    st.fixed_dictionaries({"type": st.just("input_image"), "image_url": st.just("x"), "detail": DETAIL}),
    st.just({"type": "input_file", "file_url": "https://x.invalid/a.pdf"}),
)
ITEM = st.one_of(
    st.fixed_dictionaries({"role": st.just("user"), "content": TEXT | st.lists(INPUT_PART, max_size=3)}),
    st.fixed_dictionaries({"type": st.just("function_call"), "call_id": TEXT, "name": TEXT, "arguments": TEXT}),
    st.fixed_dictionaries({"type": st.just("function_call_output"), "call_id": TEXT, "output": TEXT}),
    st.fixed_dictionaries({"type": st.just("reasoning"), "id": TEXT, "encrypted_content": st.just("gAAA" * 50)}),
    st.fixed_dictionaries({"type": st.just("shell_call_output"), "output": st.lists(SCHEMA, max_size=2)}),
    TEXT,
)
RESPONSE = st.fixed_dictionaries(
    {"input": TEXT | st.lists(ITEM, max_size=3)},
    optional={
        "instructions": TEXT,
        "max_output_tokens": st.none() | st.integers(1, 1_000),
        "tools": st.lists(st.fixed_dictionaries({"type": st.just("custom"), "name": TEXT, "x": SCHEMA}), max_size=2),
        "text": st.fixed_dictionaries({"format": SCHEMA}),
    },
)


def response_bill(body: dict[str, Any], model: str) -> tuple[int, int]:
    """Return the most input and output tokens: three an item, and all its texts but its id."""
    items = body["input"] if isinstance(body["input"], list) else [body["input"]]
    inputs, has_file = 3 + 4 * ("instructions" in body), False
    for item in items:
        members = item if isinstance(item, dict) else {"content": item}
        inputs += 3
        for value in (value for name, value in members.items() if name not in ("id", "type")):
            parts = [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []
            has_file = has_file or any(part.get("type") == "input_file" for part in parts)
            images = [part for part in parts if part.get("type") == "input_image"]
            inputs += sum(image_bill(model, part["detail"]) for part in images)
            texts = [part.get("text", part) for part in parts if part.get("type") not in ("input_image", "input_file")]
            inputs += text_bill(texts if parts else value, model)
    inputs += sum(text_bill(body.get(name), model) for name in ("instructions", "tools", "text"))
    return inputs + has_file * file_bill(model), body.get("max_output_tokens") or 500


@given(body=RESPONSE, model=st.sampled_from(MODELS))
def test_a_response_holds_all_that_could_be_billed(body: dict[str, Any], model: str) -> None:
    parsed, inputs, outputs = held("responses", body, model)
    most_input, most_output = response_bill(body, model)
    assert inputs >= most_input
    assert outputs >= most_output
    assert parsed.media is None or parsed.media(model).is_bounded


PROMPTS = TEXT | st.lists(TEXT, min_size=1, max_size=3) | st.lists(st.integers(0, 9), min_size=1, max_size=5)
NESTED = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4) | TEXT, min_size=1, max_size=3)


@given(
    prompt=PROMPTS | NESTED,
    n=st.none() | st.integers(1, 4),
    best_of=st.none() | st.integers(1, 4),
    cap=st.none() | st.integers(0, 50),
    suffix=st.none() | TEXT,
)
def test_prompts_hold_all_that_could_be_billed(
    prompt: Any, n: int | None, best_of: int | None, cap: int | None, suffix: str | None
) -> None:
    prompts = [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else prompt
    inputs = sum(TOKENIZER.count(each, "gpt-4o") if isinstance(each, str) else len(each) for each in prompts)
    body = {"prompt": prompt, "n": n, "best_of": best_of, "max_tokens": cap, "suffix": suffix}
    _, held_input, held_output = held("completions", body, "gpt-4o")
    assert held_input >= inputs + TOKENIZER.count(suffix or "", "gpt-4o")
    assert held_output >= len(prompts) * max(n or 1, best_of or 1) * (16 if cap is None else cap)
    assert held("embeddings", {"input": prompt}, "gpt-4o")[1] >= inputs


SOUND = st.one_of(
    st.builds(wav_that_claims, st.integers(0, 9), st.integers(0, 20)),
    st.builds(mp3, st.integers(0, 400), st.integers(0, 9)),
    st.integers(0, 99).map(lambda size: b"OggS" + bytes(size)),
)


@given(content=SOUND)
def test_sound_holds_all_that_is_played(content: bytes) -> None:
    from local.simulator.replies import seconds_of

    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--b--' % content
    parsed = FORMATS["audio/transcriptions"].read_request(form, "multipart/form-data; boundary=b")
    if parsed.unbounded:
        assert content.startswith(b"OggS")
        return
    assert parsed.units.audio_seconds >= seconds_of(content)


@pytest.mark.parametrize(
    ("operation", "model", "body", "unbounded"),
    [
        ("chat/completions", "gpt-4o", {"max_tokens": 5}, ""),
        ("chat/completions", "gpt-4o", {}, "output"),
        ("chat/completions", "gpt-4o", {"messages": [{"content": [{"type": "video"}]}], "max_tokens": 5}, "input"),
        ("chat/completions", "gpt-4o", {"messages": [{"content": [{"type": "video"}]}]}, "input,output"),
        ("responses", "gpt-4o", {"input": "Hi", "max_output_tokens": 20}, ""),
        ("responses", "gpt-4o", {"input": [{"role": "user", "content": [{"type": "input_video"}]}]}, "input,output"),
        ("responses", "gpt-4o", {"input": "Hi", "max_output_tokens": 20, "context_management": []}, "input,output"),
        ("completions", "gpt-35-turbo-instruct", {"prompt": "Hi"}, ""),
        ("embeddings", "text-embedding-3-small", {"input": "Hi"}, ""),
        ("images/generations", "gpt-image-1", {"prompt": "Hi"}, ""),
        ("images/generations", "gpt-image-1", {"prompt": "Hi", "size": "3840x2160"}, "output"),
        ("audio/speech", "gpt-4o-mini-tts", {"input": "Hi", "voice": "alloy"}, "output"),
    ],
)
async def test_the_entry_says_what_its_hold_does_not_bound(
    stack: Stack, operation: str, model: str, body: dict[str, Any], unbounded: str
) -> None:
    if operation == "chat/completions":
        body = {"messages": [{"role": "user", "content": "Hi"}], **body}
        body["messages"][0]["role"] = "user"
    status, _, answer = await stack.infer(operation, model, body, dated=operation != "responses")
    await stack.settled()
    (entry,) = await stack.entries()
    assert (status, entry.get("unbounded", "")) == (200, unbounded), answer


async def test_a_cap_of_the_deployment_bounds_the_output(stack: Stack) -> None:
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["se-gpt-4o"], "max_output_tokens": 9})
    await stack.chat()
    (entry,) = await stack.entries()
    assert entry["unbounded"] == ""


async def test_images_for_an_unknown_model_are_not_bounded(stack: Stack) -> None:
    await stack.backend("swedencentral", "other", model="some-model")
    for meter in ("input", "output"):
        row = {"model": "some-model", "meter": meter, "usd_per_million": "1", "effective_from": "2024-01-01T00:00:00Z"}
        await stack.manage("POST", "/manage/prices", row)
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["other"]})
    image: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}]
    await stack.chat(messages=image, max_tokens=5)
    (entry,) = await stack.entries()
    assert (entry["model"], entry["unbounded"]) == ("some-model", "input")
