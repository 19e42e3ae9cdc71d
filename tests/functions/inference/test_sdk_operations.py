"""Every operation through the official SDK gets equal answers from the gateway and the simulator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import openai
import pytest

from tests.functions.inference.test_sdk import _clients
from tests.tools.sounds import wav
from tests.tools.stack import Stack

Use = Callable[[Any], Awaitable[Any]]
EMBEDDING = "text-embedding-3-small"
INSTRUCT = "gpt-35-turbo-instruct"
TOOLS: Any = [{"type": "function", "name": "answer", "strict": False, "parameters": {"type": "object"}}]


SOUND = ("hello.wav", wav(1))


async def streamed(stream: Any) -> list[Any]:
    return [event async for event in await stream]


async def spoken(client: Any, **fields: Any) -> bytes:
    async with client.audio.speech.with_streaming_response.create(
        model="tts-hd", input="Hello there", voice="alloy", **fields
    ) as response:
        return b"".join([chunk async for chunk in response.iter_bytes()])


USES: dict[str, Use] = {
    "embeddings": lambda client: client.embeddings.create(model=EMBEDDING, input=["a", "b c"], dimensions=8),
    "embeddings as floats": lambda client: client.embeddings.create(
        model=EMBEDDING, input=[1, 2, 3], dimensions=4, encoding_format="float"
    ),
    "completions": lambda client: client.completions.create(model=INSTRUCT, prompt="Once", n=2, max_tokens=5),
    "streamed completions": lambda client: streamed(
        client.completions.create(model=INSTRUCT, prompt=["Once", "Twice"], stream=True)
    ),
    "images": lambda client: client.images.generate(
        model="dall-e-3", prompt="A fox", quality="hd", size="1024x1792", response_format="b64_json"
    ),
    "images by token": lambda client: client.images.generate(model="gpt-image-1", prompt="A fox", n=2, quality="low"),
    "streamed images": lambda client: streamed(
        client.images.generate(model="gpt-image-1", prompt="A fox", stream=True, partial_images=1)
    ),
    "transcriptions": lambda client: client.audio.transcriptions.create(model="whisper", file=SOUND),
    "verbose transcriptions": lambda client: client.audio.transcriptions.create(
        model="whisper", file=SOUND, response_format="verbose_json", timestamp_granularities=["segment"]
    ),
    "streamed transcriptions": lambda client: streamed(
        client.audio.transcriptions.create(model="gpt-4o-transcribe", file=SOUND, stream=True)
    ),
    "translations": lambda client: client.audio.translations.create(
        model="whisper", file=SOUND, response_format="text"
    ),
    "speech": spoken,
    "speech as events": lambda client: spoken(client, stream_format="sse"),
    "responses": lambda client: client.responses.create(model="gpt-4o", input="Hello!", instructions="Be brief."),
    "responses with tools": lambda client: client.responses.create(model="o4-mini", input="Hello!", tools=TOOLS),
    "streamed responses": lambda client: streamed(client.responses.create(model="gpt-4o", input="Hello!", stream=True)),
}
OWN = frozenset({"id", "created", "created_at", "item_id", "call_id", "url"})


def comparable(answer: Any) -> Any:
    """Return an answer without its ids and times."""
    if isinstance(answer, list):
        return [comparable(each) for each in answer]
    if isinstance(answer, dict):
        return {name: comparable(value) for name, value in answer.items() if name not in OWN}
    return comparable(answer.model_dump()) if hasattr(answer, "model_dump") else answer


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the name by which the SDK calls translations
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("family", ["dated", "v1"])
async def test_answers_equal_those_of_the_simulator(stack: Stack, family: str, use: str) -> None:
    gateway, simulator = _clients(stack, family)
    async with gateway, simulator:
        wanted, got = await USES[use](simulator), await USES[use](gateway)
    assert comparable(got) == comparable(wanted)
    (entry,) = await stack.entries()
    assert entry["kind"] == "charge"
    assert entry["error_code"] == ""


@pytest.mark.parametrize("family", ["dated", "v1"])
async def test_a_response_is_created_read_followed_and_deleted(stack: Stack, family: str) -> None:
    gateway, simulator = _clients(stack, family)
    async with gateway, simulator:
        first = await gateway.responses.create(model="gpt-4o", input="Hello!")
        second = await gateway.responses.create(model="gpt-4o", input="And?", previous_response_id=first.id)
        assert (await gateway.responses.retrieve(first.id)).output_text == first.output_text
        items = [item async for item in gateway.responses.input_items.list(second.id)]
        assert items[0].content == "And?"
        running = await gateway.responses.create(model="gpt-4o", input="Long", background=True)
        assert running.status == "queued"
        assert (await gateway.responses.cancel(running.id)).status == "cancelled"
        await gateway.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            await gateway.responses.retrieve(first.id)


@pytest.mark.parametrize("family", ["dated", "v1"])
async def test_models_are_listed(stack: Stack, family: str) -> None:
    gateway, simulator = _clients(stack, family)
    async with gateway, simulator:
        assert EMBEDDING in [model.id async for model in gateway.models.list()]
