"""Each process tells every minute that it lives, and is forgotten a day after that ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.adapters.documents.health import DocumentStates
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.health.tell_instance import BEAT_SECONDS, TellInstance
from shared.domain.errors import StorageUnavailable
from shared.domain.health.instance import Instance
from tests.tools.ledgers import ManualClock


class Silent(InMemoryDocuments):
    """Storage that cannot be reached."""

    async def put(self, table: str, partition: str, key: str, text: str) -> None:
        raise StorageUnavailable


class Watched(DocumentStates[Instance]):
    """States that set an event when one is noted."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.is_noted = asyncio.Event()

    async def note(self, name: str, state: Instance) -> None:
        await super().note(name, state)
        self.is_noted.set()


def states(documents: InMemoryDocuments) -> DocumentStates[Instance]:
    return DocumentStates(documents, "instances", Instance)


async def test_a_process_is_noted_with_its_version_and_times() -> None:
    instances, clock = states(InMemoryDocuments()), ManualClock()
    began, tell = clock.now(), TellInstance(instances, clock, "i/1", "1.2.3")
    clock.seconds += 60
    await tell()
    noted = Instance(name="i/1", version="1.2.3", started_at=began, seen_at=clock.now())
    assert await instances.all() == {"i/1": noted}


async def test_a_process_tells_until_it_is_cancelled() -> None:
    instances, clock = Watched(InMemoryDocuments(), "instances", Instance), ManualClock()
    began = clock.now()
    telling = asyncio.create_task(TellInstance(instances, clock, "i", "1").keep_telling())
    await asyncio.wait_for(instances.is_noted.wait(), 60)
    telling.cancel()
    assert ((await instances.all())["i"].seen_at - began).total_seconds() >= BEAT_SECONDS
    with pytest.raises(asyncio.CancelledError):
        await telling


async def test_storage_that_cannot_be_reached_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    await TellInstance(states(Silent()), ManualClock(), "i", "1")()
    assert "gateway.instance.not_noted" in caplog.text


async def test_a_process_is_forgotten_a_day_after_it_was_last_seen() -> None:
    instances, clock = states(InMemoryDocuments()), ManualClock()
    old, new = (TellInstance(instances, clock, name, "1") for name in ("old", "new"))
    await old()
    clock.seconds += 24 * 3600 + 1
    await new()
    assert (await new.forget_old(), [*await instances.all()]) == (1, ["new"])
    assert await new.forget_old() == 0


@pytest.mark.parametrize("name", ["a/b\\c#d?e%=f", "ü ~audit|", "~", "x" * 200])
async def test_a_process_of_any_name_is_noted(name: str) -> None:
    instances = states(InMemoryDocuments())
    await TellInstance(instances, ManualClock(), name, "1")()
    assert len(await instances.all()) == 1
