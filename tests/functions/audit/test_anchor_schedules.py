"""Many schedules of processes that run at once, stall, die and lose answers: there is one log, and never two roots."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence, Set
from pathlib import Path

import pytest

from shared.adapters.on_disk.signer import KeyFileSigner
from shared.application.audit.anchor_heads import AnchorHeads
from shared.application.audit.anchor_log import JOB, AnchorLog
from shared.application.ports.anchors import KeySignature
from shared.application.sweep import SweepFailed
from shared.domain.audit.anchor_files import ChainHead
from shared.domain.audit.checkpoint import parse_checkpoint
from shared.domain.errors import StorageUnavailable
from shared.generated_secrets import generate_key_file
from tests.functions.audit.test_anchor_heads import Died, World
from tests.tools.anchor_logs import ORIGIN, head

RUNS = 12


class Stormy:
    """A store whose calls take a random number of turns, and fail before or after they took effect."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance

    async def create(self, path: str, content: bytes) -> bool:
        await self._turns()
        fate = self._chance.random()
        if fate < 0.05:
            raise StorageUnavailable("lost request")
        created = await self._world.files.create(path, content)
        if fate < 0.1:
            raise StorageUnavailable("lost response")
        if fate < 0.15:
            raise Died
        await self._turns()
        return created

    async def read(self, path: str) -> bytes | None:
        await self._turns()
        if self._chance.random() < 0.02:
            raise StorageUnavailable("lost request")
        return await self._world.files.read(path)

    def names(self, folder: str) -> AsyncIterator[str]:
        return self._world.files.names(folder)

    async def _turns(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)


class Recording(KeyFileSigner):
    """A signer that knows every text which it has signed."""

    def __init__(self, path: Path, signed: dict[int, set[str]]) -> None:
        super().__init__(path)
        self._signed = signed

    async def sign(self, message: bytes) -> Sequence[KeySignature]:
        text = message.decode()
        self._signed.setdefault(parse_checkpoint(text).size, set()).add(text)
        return await super().sign(message)


class Growing:
    """Two chains that grow whenever somebody looks."""

    def __init__(self) -> None:
        self._seq = 0

    async def heads(self, final: Set[str]) -> AsyncIterator[ChainHead]:
        self._seq += 1
        seq = self._seq
        await asyncio.sleep(0)
        yield head("acme|00", seq)
        yield head("blue|00", seq // 3)


class Schedule:
    """Processes over one container, one memory and one key."""

    def __init__(self, seed: int, key: Path) -> None:
        self.chance = random.Random(seed)
        self.signed: dict[int, set[str]] = {}
        self.world = World(key)
        self.source = Growing()
        self._store = Stormy(self.world, self.chance)

    def start(self) -> AnchorLog:
        """Start a process."""
        signer = Recording(self.world.key, self.signed)
        return AnchorLog(self._store, signer, self.world.memory, self.world.clock, ORIGIN, 10**6)

    async def run_in(self, log: AnchorLog) -> None:
        """Run again and again, in a new process after each death."""
        for _ in range(RUNS):
            try:
                await AnchorHeads(log, [self.source])()
            except (StorageUnavailable, SweepFailed):
                continue
            except Died:
                log = self.start()

    async def forget(self) -> None:
        """Lose the memory, or set it back, now and then."""
        kept = [""]
        for _ in range(RUNS):
            for _ in range(self.chance.randrange(200)):
                await asyncio.sleep(0)
            kept.append(await self.world.memory.get(JOB))
            await self.world.memory.put(JOB, self.chance.choice(kept))


@pytest.mark.parametrize("seed", range(30))
async def test_no_schedule_signs_two_roots_of_one_size(seed: int, tmp_path: Path) -> None:
    generate_key_file(tmp_path / "key.pem")
    schedule = Schedule(seed, tmp_path / "key.pem")
    one = schedule.start()
    await asyncio.gather(
        schedule.run_in(one), schedule.run_in(one), schedule.run_in(schedule.start()), schedule.forget()
    )
    await schedule.world.process(schedule.source)()
    assert {size: len(texts) for size, texts in schedule.signed.items() if len(texts) > 1} == {}
    replay, told = await schedule.world.replayed()
    assert told == ""
    assert replay.signed_size == replay.size > RUNS // 2
