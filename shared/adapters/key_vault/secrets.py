"""Secrets of an Azure Key Vault, cached. Each has the newest value, and for a while the one before it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from shared.adapters.key_vault.renewed import Renewed
from shared.adapters.key_vault.vault import Vault
from shared.application.ports.clock import Clock
from shared.application.ports.secrets import SecretVersion
from shared.domain.errors import SecretUnavailable
from shared.domain.values import record

OVERLAP: Final = timedelta(minutes=20)
"""The time for which the version before a new one is still accepted. All processes know the new one long before."""
SecretRule = Callable[[str], str | None]
"""Returns the problem of a value, in words and without the value; `None` if there is none."""


@record
class _Reading:
    """The newest version of a secret, and the one before it if it was replaced a short time ago."""

    newest: SecretVersion
    before: SecretVersion | None


class KeyVaultSecrets:
    """Implements `Secrets`."""

    def __init__(
        self,
        vault: Vault,
        clock: Clock,
        rules: Mapping[str, SecretRule],
        default_rule: SecretRule,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`rules` by name, and `default_rule` for other names, say which values may be used."""
        self._vault = vault
        self._clock = clock
        self._rules = {name.lower(): rule for name, rule in rules.items()}
        self._default_rule = default_rule
        self._jitter = jitter
        self._secrets: dict[str, Renewed[_Reading]] = {}
        self._histories: dict[str, Renewed[tuple[SecretVersion, ...]]] = {}

    def held(self, name: str) -> str | None:
        secret = self._secrets.get(name)
        reading = None if secret is None else secret.held()
        return None if reading is None else reading.newest.value

    async def get(self, name: str) -> str:
        return (await self._secret(name).get()).newest.value

    async def accepted(self, name: str) -> Sequence[str]:
        return self._values(await self._secret(name).get())

    async def versions(self, name: str) -> Sequence[SecretVersion]:
        history = self._histories.get(name)
        if history is None:

            async def read(held: tuple[SecretVersion, ...] | None) -> tuple[SecretVersion, ...]:
                return await self._read_history(name, held or ())

            history = self._histories[name] = Renewed(name, read, self._clock, self._jitter)
        return await history.get()

    async def refused(self, name: str, value: str) -> str | None:
        secret = self._secret(name)
        reading = await secret.get()
        if reading.newest.value == value:
            reading = await secret.read_anew()
        return next((each for each in self._values(reading) if each != value), None)

    async def aclose(self) -> None:
        """End what is being read, and close the connections."""
        for secret in self._secrets.values():
            secret.cancel()
        for history in self._histories.values():
            history.cancel()
        await self._vault.aclose()

    def _secret(self, name: str) -> Renewed[_Reading]:
        secret = self._secrets.get(name)
        if secret is None:

            async def read(held: _Reading | None) -> _Reading:
                return await self._read(name, held)

            secret = self._secrets[name] = Renewed(name, read, self._clock, self._jitter)
        return secret

    def _values(self, reading: _Reading) -> list[str]:
        values = [reading.newest.value]
        if reading.before is not None and self._overlaps(reading.newest):
            values.append(reading.before.value)
        return values

    def _overlaps(self, newest: SecretVersion) -> bool:
        return self._clock.now() - newest.created_at < OVERLAP

    async def _read(self, name: str, held: _Reading | None) -> _Reading:
        newest = self._checked(name, await self._vault.newest(name))
        if not self._overlaps(newest):
            return _Reading(newest=newest, before=None)
        return _Reading(newest=newest, before=await self._before(name, newest, held))

    async def _before(self, name: str, newest: SecretVersion, held: _Reading | None) -> SecretVersion | None:
        """Return the version that `newest` replaced, unless it is disabled. The one that is held if nothing is told."""
        try:
            older = [each for each in await self._vault.versions(name) if each.version != newest.version]
            if not older or not older[-1].is_enabled:
                return None
            return self._checked(name, await self._vault.version(name, older[-1].version))
        except SecretUnavailable as error:  # such as no permission to list versions
            if held is None or error.is_gone:
                return None
            return held.before if held.newest.version == newest.version else held.newest

    async def _read_history(self, name: str, held: Sequence[SecretVersion]) -> tuple[SecretVersion, ...]:
        """Read all versions. The value of a version never changes, so those that are held are not read again.

        A version that breaks its rule is left out, because nothing was ever signed with it. The newest must keep it.
        """
        known = {each.version: each for each in held}
        versions = [each.version for each in await self._vault.versions(name) if each.is_enabled]
        if not versions:
            raise SecretUnavailable(f"The secret '{name}' has no enabled version in the key vault.", is_gone=True)
        read = [known.get(each) or await self._vault.version(name, each) for each in versions]
        self._checked(name, read[-1])
        return tuple(each for each in read if self._problem(name, each) is None)

    def _checked(self, name: str, version: SecretVersion) -> SecretVersion:
        problem = self._problem(name, version)
        if problem is not None:
            raise SecretUnavailable(f"The secret '{name}' in the key vault cannot be used: its value {problem}.")
        return version

    def _problem(self, name: str, version: SecretVersion) -> str | None:
        return self._rules.get(name.lower(), self._default_rule)(version.value)
