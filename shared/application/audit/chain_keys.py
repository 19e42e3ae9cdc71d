"""The versions of the key that signs ledger entries, which a key vault may hold and replace."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from shared.application.ports.clock import Clock
from shared.application.ports.secrets import Secrets
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.errors import SecretUnavailable

logger = logging.getLogger("tallygate")
RENEW_SECONDS: Final = 60.0


class ChainKeys:
    """Collects all versions: those that the settings state, and those of a secret, whose newest version signs."""

    def __init__(self, secrets: Secrets, name: str, stated: Mapping[str, bytes], stated_newest: str) -> None:
        """`name` is that of the secret; empty if the settings state all versions."""
        self._secrets = secrets
        self._name = name
        self._stated = stated
        self._stated_newest = stated_newest

    async def ring(self) -> KeyRing:
        """Return all versions. Raises `SecretUnavailable`."""
        if not self._name:
            return KeyRing(keys=self._stated, newest=self._stated_newest)
        versions = await self._secrets.versions(self._name)
        keys = {each.version: each.value.encode() for each in versions}
        return KeyRing(keys={**self._stated, **keys}, newest=versions[-1].version)

    async def readable(self) -> Mapping[str, bytes]:
        """Return the versions that can be had now, for a verification that says which ones are missing."""
        try:
            return (await self.ring()).keys
        except SecretUnavailable as error:
            logger.warning("%s Entries that it signed are checked without it.", error)
            return self._stated

    async def keep_current(self, chain: HashChain, clock: Clock) -> None:
        """Let `chain` sign with a new version once the vault has one. Never returns."""
        while True:
            await clock.sleep(RENEW_SECONDS)
            try:
                chain.use(await self.ring())
            except Exception as error:  # noqa: BLE001 - whatever it is, the version that is held stays in use
                logger.warning("%s: %s Entries are signed with the version that is held.", type(error).__name__, error)
