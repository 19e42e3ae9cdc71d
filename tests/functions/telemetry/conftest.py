"""A gateway whose measurements and spans the test reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from shared.composition import adapters
from shared.settings import Settings
from tests.tools.stack import Stack, running_stack
from tests.tools.traces import Kept


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """Keep what the gateway measures, in place of exporting it."""
    measured = Kept()

    def open_kept(_: Settings, __: AsyncExitStack) -> Kept:
        return measured

    monkeypatch.setattr(adapters, "open_telemetry", open_kept)
    return measured


@pytest.fixture
async def stack(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack_settings: dict[str, str]
) -> AsyncIterator[Stack]:
    """Run a gateway in memory that measures."""
    async with running_stack(monkeypatch, tmp_path, {"TALLYGATE_STORAGE": "memory", **stack_settings}) as running:
        yield running
