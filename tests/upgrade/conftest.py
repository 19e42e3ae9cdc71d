"""Frozen storage and a gateway over it: one copy that tests only read, and one that they change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.upgrade.gateway import FrozenGateway, running_gateway
from tests.upgrade.storage import Storage, running_storage


@pytest.fixture(scope="session")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """Storage that no test writes to."""
    with running_storage(tmp_path_factory.mktemp("frozen")) as running:
        yield running


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """Storage that tests write to in any order, while its month stays open."""
    with running_storage(tmp_path_factory.mktemp("storage")) as running:
        yield running


@pytest.fixture
async def reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, frozen: Storage) -> AsyncIterator[FrozenGateway]:
    """A gateway from which tests only read."""
    async with running_gateway(monkeypatch, tmp_path, frozen) as running:
        yield running


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, storage: Storage) -> AsyncIterator[FrozenGateway]:
    """A gateway that serves requests through the simulator."""
    async with running_gateway(monkeypatch, tmp_path, storage) as running:
        await running.aim_at_simulator()
        yield running
