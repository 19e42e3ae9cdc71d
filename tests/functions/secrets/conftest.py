"""A gateway whose secrets are in a key vault."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.emulators.key_vault import EmulatedVault
from tests.tools.stack import ADMIN_KEY, CHAIN_KEY, SIMULATOR_KEY, Stack, running_stack
from tests.tools.vaults import running_identity, running_vault

BACKEND_SECRET = "azure-openai-api-key"
ADMIN_SECRET = "tallygate-admin-key"
CHAIN_SECRET = "tallygate-chain-key"
OLD = 99_999
"""An age in seconds: nothing overlaps with such a version."""


@dataclass
class Vaulted:
    """The gateway and its vault. `settings` started it."""

    stack: Stack
    vault: EmulatedVault
    settings: dict[str, str]

    async def status(self, key: str) -> int:
        """Call the management API with a key."""
        headers = {"api-key": key}
        async with self.stack.session.get(f"{self.stack.url}/manage/tenants", headers=headers) as response:
            return response.status


@pytest.fixture
async def vaulted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack_settings: dict[str, str]
) -> AsyncIterator[Vaulted]:
    """Gateway (in memory) and simulator. The key of all backends and the management key are in a vault over TLS."""
    async with running_identity(monkeypatch), running_vault() as vault:
        vault.set(BACKEND_SECRET, SIMULATOR_KEY, age_seconds=OLD)
        vault.set(ADMIN_SECRET, ADMIN_KEY, age_seconds=OLD)
        vault.set(CHAIN_SECRET, CHAIN_KEY, age_seconds=OLD)
        settings = {
            "TALLYGATE_STORAGE": "memory",
            "AZURE_KEY_VAULT_URL": vault.url,
            "AZURE_OPENAI_API_KEY": "",
            "ADMIN_API_KEY": "",
            "ADMIN_API_KEY_SECRET_NAME": ADMIN_SECRET,
            **stack_settings,
        }
        async with running_stack(monkeypatch, tmp_path, settings) as stack:
            yield Vaulted(stack, vault, settings)
