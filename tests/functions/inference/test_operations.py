"""Every inference operation but chat is booked as the simulator bills it, on both families of paths."""

from __future__ import annotations

import io
import json
import math
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from local.simulator import wire
from tests.tools.sounds import wav
from tests.tools.stack import PRICES, Stack, eventually


def form(*, seconds: float = 2.5, **fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for name, value in fields.items():
        data.add_field(name, value)
    data.add_field("file", io.BytesIO(wav(seconds)), filename="hello.wav", content_type="audio/wav")
    return data


async def settled(stack: Stack) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the newest entry, and the simulator's record of the same request."""
    await stack.settled()
    return (await stack.entries())[-1], (await stack.requests())[-1]


def cost(model: str, **quantities: int) -> Decimal:
    return sum((Decimal(PRICES[model][meter]) * count for meter, count in quantities.items()), Decimal()) / 10**6


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize(
    "given",
    ["Hello there", ["one", "two words"], [15339, 1070], [[15339], [1070, 13]]],
    ids=["text", "texts", "tokens", "token lists"],
)
async def test_embeddings_are_charged_by_their_input(stack: Stack, given: Any, dated: bool) -> None:
    status, _, body = await stack.infer("embeddings", "text-embedding-3-small", {"input": given}, dated=dated)
    entry, record = await settled(stack)
    assert status == 200
    tokens = json.loads(body)["usage"]["prompt_tokens"]
    assert entry["usage"]["input"] == entry["tokens"] == record["usage"]["prompt_tokens"] == tokens
    assert entry["reserved_tokens"] >= tokens
    assert (entry["estimated"], entry["operation"], entry["usage"]["output_tokens"]) == (False, "embeddings", 0)
    assert Decimal(entry["cost_usd"]) == cost("text-embedding-3-small", input=tokens)


async def test_embeddings_without_usage_are_charged_by_the_tokenizer(stack: Stack) -> None:
    await stack.fault(kind="no_usage")
    await stack.infer("embeddings", "text-embedding-3-small", {"input": ["one", "two words"]})
    entry, record = await settled(stack)
    assert (entry["estimated"], entry["tokens"]) == (True, record["usage"]["prompt_tokens"])


@pytest.mark.parametrize("given", [None, 7, [], {}, ""])
@pytest.mark.parametrize("operation", ["embeddings", "completions"])
async def test_malformed_inputs_are_refused(stack: Stack, operation: str, given: Any) -> None:
    name = "input" if operation == "embeddings" else "prompt"
    status, _, body = await stack.infer(operation, "gpt-35-turbo-instruct", {name: given})
    if given == "":
        assert status in (200, 424)
    else:
        assert (status, json.loads(body)["error"]["param"]) == (400, name)


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("fields", [{}, {"max_tokens": 7, "n": 2, "suffix": "the end"}, {"best_of": 2, "top_p": 0.5}])
async def test_completions_are_charged_the_usage_of_the_backend(
    stack: Stack, fields: dict[str, Any], dated: bool
) -> None:
    body = {"prompt": ["Once upon", "a time"], **fields}
    status, _, answer = await stack.infer("completions", "gpt-35-turbo-instruct", body, dated=dated)
    entry, record = await settled(stack)
    usage = json.loads(answer)["usage"]
    assert (status, usage) == (200, record["usage"])
    assert (entry["usage"]["input"], entry["usage"]["output"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert entry["reserved_tokens"] >= entry["tokens"]


@pytest.mark.parametrize("asked", [True, False])
async def test_streamed_completions_show_usage_only_if_it_was_asked_for(stack: Stack, asked: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    body = {"prompt": "Once", "stream": True, **options}
    status, headers, answer = await stack.infer("completions", "gpt-35-turbo-instruct", body)
    entry, record = await settled(stack)
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert (b'"usage"' in answer) is asked
    assert answer.endswith(b"data: [DONE]\n\n")
    assert entry["tokens"] == record["usage"]["total_tokens"]
    assert entry["estimated"] is False


async def test_a_broken_completion_is_charged_for_the_delivered_text(stack: Stack) -> None:
    await stack.fault(kind="break", after_chunks=5)
    await stack.infer("completions", "gpt-35-turbo-instruct", {"prompt": "Once", "stream": True})
    entry, record = await settled(stack)
    assert (entry["estimated"], entry["error_code"]) == (True, "backend_error")
    assert entry["tokens"] == record["usage"]["total_tokens"]


@pytest.mark.parametrize(
    ("fields", "variant", "price"),
    [
        ({}, "standard 1024x1024", "images"),
        ({"quality": "hd", "size": "1024x1792"}, "hd 1024x1792", "images hd 1024x1792"),
        ({"quality": "auto", "size": None}, "standard 1024x1024", "images"),
    ],
)
@pytest.mark.parametrize("dated", [True, False])
async def test_images_are_charged_by_quality_and_size(
    stack: Stack, fields: dict[str, Any], variant: str, price: str, dated: bool
) -> None:
    status, _, body = await stack.infer("images/generations", "dall-e-3", {"prompt": "A fox", **fields}, dated=dated)
    entry, record = await settled(stack)
    assert (status, len(json.loads(body)["data"])) == (200, record["usage"]["images"])
    assert (entry["usage"]["images"], entry["variant"], entry["tokens"], entry["estimated"]) == (1, variant, 0, False)
    assert Decimal(entry["cost_usd"]) == cost("dall-e-3", **{price: 1})
    assert Decimal(entry["reserved_usd"]) == Decimal(entry["cost_usd"])


@pytest.mark.parametrize("stream", [True, False])
async def test_images_of_models_priced_by_token_are_charged_tokens(stack: Stack, stream: bool) -> None:
    body = {"prompt": "A fox", "quality": "low", **({"stream": True, "partial_images": 1} if stream else {})}
    status, _, answer = await stack.infer("images/generations", "gpt-image-1", body)
    entry, record = await settled(stack)
    assert status == 200
    assert answer.count(b"event: image_generation.partial_image") == int(stream)
    assert (entry["tokens"], entry["estimated"]) == (record["usage"]["total_tokens"], False)
    assert entry["usage"]["images"] == 1
    quantities = {"input": record["usage"]["input_tokens"], "output": record["usage"]["output_tokens"]}
    assert Decimal(entry["cost_usd"]) == cost("gpt-image-1", **quantities)


async def test_images_priced_by_token_are_estimated_without_usage(stack: Stack) -> None:
    await stack.fault(kind="no_usage")
    await stack.infer("images/generations", "gpt-image-1", {"prompt": "A fox", "n": 2})
    entry, record = await settled(stack)
    assert (entry["estimated"], entry["tokens"]) == (True, record["usage"]["total_tokens"])
    assert entry["usage"]["images"] == 2


@pytest.mark.parametrize("operation", ["audio/transcriptions", "audio/translations"])
@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("shape", ["json", "verbose_json", "text", "srt"])
async def test_whisper_is_charged_by_the_second(stack: Stack, operation: str, shape: str, dated: bool) -> None:
    data = form(response_format=shape) if dated else form(response_format=shape, model="whisper")
    status, headers, body = await stack.infer(operation, "whisper", form=data, dated=dated)
    entry, record = await settled(stack)
    assert (status, len(body) == record["bytes_sent"]) == (200, shape in ("verbose_json", "srt"))
    assert shape != "json" or list(json.loads(body)) == ["text"]
    assert shape != "text" or body.endswith(b"\n")
    assert headers["content-type"].startswith("application/json" if shape.endswith("json") else "text/plain")
    assert entry["usage"]["audio_seconds"] == record["usage"]["seconds"] == math.ceil(2.5)
    assert (entry["estimated"], entry["tokens"]) == (shape == "srt", 0)
    assert Decimal(entry["cost_usd"]) == cost("whisper", audio_seconds=3)


@pytest.mark.parametrize("stream", [True, False])
async def test_transcripts_of_models_priced_by_token_are_charged_tokens(stack: Stack, stream: bool) -> None:
    data = form(prompt="Names: Ann", stream="true" if stream else "false")
    status, _, _ = await stack.infer("audio/transcriptions", "gpt-4o-transcribe", form=data)
    entry, record = await settled(stack)
    usage = record["usage"]
    assert (status, entry["tokens"], entry["estimated"]) == (200, usage["total_tokens"], False)
    assert entry["usage"]["audio_input"] == usage["input_token_details"]["audio_tokens"] > 0
    assert entry["reserved_tokens"] >= entry["tokens"]


async def test_a_transcript_without_usage_is_estimated_from_its_text(stack: Stack) -> None:
    await stack.fault(kind="no_usage")
    await stack.infer("audio/transcriptions", "gpt-4o-transcribe", form=form(stream="true"))
    entry, record = await settled(stack)
    assert (entry["estimated"], entry["usage"]["output"]) == (True, record["usage"]["output_tokens"])


async def test_a_large_file_is_charged_by_the_second_too(stack: Stack) -> None:
    status, _, _ = await stack.infer("audio/transcriptions", "whisper", form=form(seconds=100))
    entry, record = await settled(stack)
    assert (status, entry["usage"]["audio_seconds"]) == (200, record["usage"]["seconds"]) == (200, 100)


async def test_a_model_in_a_form_is_replaced_by_the_backends(stack: Stack) -> None:
    await stack.manage("PUT", "/manage/deployments/listen", {"backends": ["se-whisper"]})
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"deployments": ["listen"]})
    status, _, _ = await stack.infer("audio/transcriptions", "listen", form=form(model="listen"), dated=False)
    entry, record = await settled(stack)
    assert (status, entry["deployment"], record["body"]["model"]) == (200, "listen", "whisper")


@pytest.mark.parametrize(
    ("content_type", "body", "param"),
    [
        ("application/json", b"{}", "Content-Type"),
        ("multipart/form-data", b"--x--", "Content-Type"),
        ("multipart/form-data; boundary=x", b"", None),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb", None),
        ("multipart/form-data; boundary=x", b"--x\r\nX: y\r\n\r\nb\r\n--x--", None),
        ("multipart/form-data; boundary=x", b"--x--", "file"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nb\r\n' * 2 + b"--x--",
            "model",
        ),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n' * 70, None),
    ],
)
async def test_forms_that_cannot_be_read_are_refused(
    stack: Stack, content_type: str, body: bytes, param: str | None
) -> None:
    headers = {"api-key": stack.key, "content-type": content_type}
    async with stack.session.post(f"{stack.url}/openai/v1/audio/transcriptions", data=body, headers=headers) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"], error["param"]) == (400, "invalid_request", param)
    assert await stack.requests() == []


@pytest.mark.parametrize("dated", [True, False])
async def test_speech_is_charged_by_the_character(stack: Stack, dated: bool) -> None:
    status, headers, body = await stack.infer(
        "audio/speech", "tts-hd", {"input": "Grüß Gott", "voice": "alloy"}, dated=dated
    )
    entry, record = await settled(stack)
    assert (status, headers["content-type"], len(body)) == (200, "audio/mpeg", record["bytes_sent"])
    assert entry["usage"]["speech_characters"] == record["usage"]["characters"] == 9
    assert (entry["estimated"], entry["tokens"]) == (False, 0)
    assert Decimal(entry["cost_usd"]) == cost("tts-hd", speech_characters=9)


async def test_speech_as_events_is_charged_the_tokens_that_they_state(stack: Stack) -> None:
    body = {"input": "Hello there", "voice": "alloy", "stream_format": "sse", "instructions": "Slowly."}
    status, _, answer = await stack.infer("audio/speech", "gpt-4o-mini-tts", body)
    entry, record = await settled(stack)
    assert (status, entry["tokens"], entry["estimated"]) == (200, record["usage"]["total_tokens"], False)
    assert answer.count(b"data:") == len(answer.split(b"\n\n")) - 1


async def test_speech_as_sound_is_estimated_where_it_is_priced_by_token(stack: Stack) -> None:
    await stack.infer("audio/speech", "gpt-4o-mini-tts", {"input": "Hello there", "voice": "alloy"})
    entry, record = await settled(stack)
    assert entry["estimated"] is True
    assert record["usage"]["output_tokens"] <= entry["usage"]["output"] <= 2 * record["usage"]["output_tokens"]


async def test_sound_that_breaks_is_cut_and_charged(stack: Stack) -> None:
    await stack.fault(kind="break", after_chunks=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await stack.infer("audio/speech", "tts-hd", {"input": "Hello there, who are you?" * 9, "voice": "alloy"})
    entry, record = await settled(stack)
    assert (entry["error_code"], entry["usage"]["speech_characters"]) == (
        "backend_error",
        record["usage"]["characters"],
    )


@pytest.mark.parametrize(
    ("operation", "model", "body", "param"),
    [
        ("images/generations", "dall-e-3", {}, "prompt"),
        ("audio/speech", "tts-hd", {"input": 7}, "input"),
    ],
)
async def test_requests_without_a_required_field_are_refused(
    stack: Stack, operation: str, model: str, body: Any, param: str
) -> None:
    status, _, answer = await stack.infer(operation, model, body)
    assert (status, json.loads(answer)["error"]["param"]) == (400, param)


async def test_the_refusal_of_an_unpriced_model_names_the_missing_meters(stack: Stack) -> None:
    status, _, body = await stack.infer("images/generations", "whisper", {"prompt": "A fox"})
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (424, "unpriced_model")
    assert "No price is known for images or input and output of model 'whisper'" in error["message"]
    assert "standard 1024x1024" in error["message"]


async def test_a_quota_of_zero_refuses_requests_that_charge_no_tokens_too(stack: Stack) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"monthly_quota_tokens": 0})
    status, _, body = await stack.infer("audio/speech", "tts-hd", {"input": "Hello", "voice": "alloy"})
    assert (status, json.loads(body)["error"]["code"]) == (429, "quota_exceeded")


async def test_models_are_the_tenants_deployments(stack: Stack) -> None:
    await stack.set_deployments("whisper", "gone", "gpt-4o")
    headers = {"api-key": stack.key}
    for path in ("/openai/v1/models", "/openai/models?api-version=2024-10-21"):
        async with stack.session.get(f"{stack.url}{path}", headers=headers) as answer:
            assert [model["id"] for model in (await answer.json())["data"]] == ["gpt-4o", "whisper"]
    for name, status in (("whisper", 200), ("gone", 404), ("gpt-4o-mini", 404)):
        async with stack.session.get(f"{stack.url}/openai/v1/models/{name}", headers=headers) as answer:
            assert answer.status == status
    async with stack.session.get(f"{stack.url}/openai/v1/models") as answer:
        assert answer.status == 401


async def test_a_caller_that_leaves_during_speech_is_charged_for_the_characters(stack: Stack) -> None:
    await stack.fault(kind="stall", after_chunks=1)
    url = f"{stack.url}/openai/v1/audio/speech"
    body = {"model": "tts-hd", "input": "Hello there, who are you?" * 9, "voice": "alloy"}
    async with stack.session.post(url, json=body, headers={"api-key": stack.key}) as response:
        await response.content.readany()
        response.close()
    background = (await stack.gateway()).background
    await eventually(lambda: background.is_busy)
    await stack.release_faults()
    entry, record = await settled(stack)
    assert entry["error_code"] == "client_disconnected"
    assert entry["usage"]["speech_characters"] == record["usage"]["characters"]


async def test_a_refused_image_prompt_is_booked_without_a_charge(stack: Stack) -> None:
    await stack.fault(kind="status", status=400, body=wire.filtered_prompt())
    status, _, body = await stack.infer("images/generations", "dall-e-3", {"prompt": "A fox"})
    entry, _ = await settled(stack)
    assert (status, json.loads(body)) == (400, wire.filtered_prompt())
    assert (entry["error_code"], entry["content_filter"]) == ("content_filter", "hate:filtered,hate:high")
    assert (entry["usage"]["images"], Decimal(entry["cost_usd"])) == (0, Decimal())


async def test_a_transcript_that_breaks_is_reported_and_charged(stack: Stack) -> None:
    await stack.fault(kind="break", after_chunks=2)
    _, _, body = await stack.infer("audio/transcriptions", "gpt-4o-transcribe", form=form(stream="true"))
    entry, _ = await settled(stack)
    assert b'"code":"backend_error"' in body
    assert (entry["error_code"], entry["estimated"], entry["usage"]["output"]) == ("backend_error", True, 2)


async def test_a_transcription_that_times_out_is_charged_for_the_seconds_of_its_file(stack: Stack) -> None:
    await stack.fault(kind="refuse")
    status, _, _ = await stack.infer("audio/transcriptions", "whisper", form=form())
    entry, _ = await settled(stack)
    assert (status, entry["estimated"], entry["usage"]["audio_seconds"], entry["tokens"]) == (502, True, 3, 0)


async def test_the_model_of_a_legacy_completion_is_replaced(stack: Stack) -> None:
    await stack.manage("PUT", "/manage/deployments/old", {"backends": ["se-gpt-35-turbo-instruct"]})
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"deployments": ["old"]})
    status, _, _ = await stack.infer("completions", "old", {"prompt": "Once"}, dated=False)
    _, record = await settled(stack)
    assert (status, record["body"]["model"]) == (200, "gpt-35-turbo-instruct")
