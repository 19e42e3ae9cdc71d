"""Fixtures over real parts: Azurite, the simulated Azure OpenAI and the gateway behind real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from shared.application.structured_log import line_bounds
from tests.tools.logged_events import LoggedEvents
from tests.tools.suite_minutes import SuiteMinutes

if TYPE_CHECKING:
    from tests.tools.stack import AzuriteAccount, Stack

# The fixtures import the gateway themselves: most unit tests need none, and its import takes most of their time.

settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SuiteMinutes(), "suite minutes")
    config.pluginmanager.register(LoggedEvents(), "logged events")


@pytest.fixture(autouse=True)
def unbounded_lines() -> None:
    """Let no test lose a log line because the one before wrote many in the same second."""
    line_bounds.clear()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteAccount]:
    """Run one Azurite in memory for all tests of this worker."""
    from tests.tools.stack import running_azurite

    with running_azurite(tmp_path_factory.mktemp("azurite")) as account:
        yield account


@pytest.fixture
def stack_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings of the gateway under test, by indirect parametrization."""
    settings: dict[str, str] = getattr(request, "param", {})
    return settings


@pytest.fixture
async def stack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack_settings: dict[str, str]
) -> AsyncIterator[Stack]:
    """Gateway (in memory) and simulator, with a tenant that may use gpt-4o, gpt-4o-mini and o4-mini."""
    from tests.tools.stack import running_stack

    async with running_stack(monkeypatch, tmp_path, {"TALLYGATE_STORAGE": "memory", **stack_settings}) as running:
        yield running


@pytest.fixture
async def stack_on_tables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, azurite: AzuriteAccount
) -> AsyncIterator[Stack]:
    """Gateway (in Azurite) and simulator. Tests share the account, so each has a tenant name of its own."""
    from tests.tools.stack import running_stack

    async with running_stack(monkeypatch, tmp_path, azurite.settings) as running:
        yield running
