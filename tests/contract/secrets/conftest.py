"""A vault, and the gateway's secrets in it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from local.emulators.key_vault import EmulatedVault
from local.emulators.managed_identity import EmulatedIdentity
from shared.adapters.identity.credentials import CachedTokens, managed_identity
from shared.adapters.key_vault.secrets import KeyVaultSecrets
from shared.adapters.key_vault.vault import Vault
from shared.setting_rules import admin_key_problem, backend_key_problem, chain_key_problem
from tests.tools.vaults import running_identity, running_vault


@dataclass
class MovedClock:
    """The real time, which a test can move on."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return time.monotonic() + self.seconds

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


@pytest.fixture
async def identity(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EmulatedIdentity]:
    async with running_identity(monkeypatch) as running:
        yield running


@pytest.fixture
async def vault(identity: EmulatedIdentity) -> AsyncIterator[EmulatedVault]:
    async with running_vault() as running:
        yield running


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def secrets(vault: EmulatedVault, clock: MovedClock) -> AsyncIterator[KeyVaultSecrets]:
    """Secrets of the vault. A management key is named `admin`. Lifetimes do not differ."""
    tokens = CachedTokens(lambda authority: managed_identity("", authority))
    rules = {"admin": admin_key_problem, "chain": chain_key_problem}
    opened = KeyVaultSecrets(Vault(vault.url, lambda: tokens.credential), clock, rules, backend_key_problem, lambda: 0)
    yield opened
    await opened.aclose()
    await tokens.close()
