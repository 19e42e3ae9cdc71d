"""Secrets that the settings state, before those of a vault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from shared.application.ports.secrets import Secrets, SecretVersion
from shared.domain.errors import SecretUnavailable

_ONLY_VERSION: Final = "0"
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class StatedSecrets:
    """Implements `Secrets`. A stated secret has one version, and never changes."""

    def __init__(self, stated: Mapping[str, str], vault: Secrets | None = None) -> None:
        """`vault` has the secrets with other names."""
        self._stated = stated
        self._vault = vault

    def held(self, name: str) -> str | None:
        value = self._stated.get(name)
        return self._vault.held(name) if value is None and self._vault is not None else value

    async def get(self, name: str) -> str:
        value = self._stated.get(name)
        return await self._from_vault(name).get(name) if value is None else value

    async def accepted(self, name: str) -> Sequence[str]:
        value = self._stated.get(name)
        return await self._from_vault(name).accepted(name) if value is None else (value,)

    async def versions(self, name: str) -> Sequence[SecretVersion]:
        value = self._stated.get(name)
        if value is None:
            return await self._from_vault(name).versions(name)
        return (SecretVersion(version=_ONLY_VERSION, created_at=_LONG_AGO, value=value),)

    async def refused(self, name: str, value: str) -> str | None:
        return None if name in self._stated else await self._from_vault(name).refused(name, value)

    def _from_vault(self, name: str) -> Secrets:
        if self._vault is None:
            raise SecretUnavailable(f"The secret '{name}' is not known: AZURE_KEY_VAULT_URL is not set.")
        return self._vault
