"""The administrator's key, which the settings state or a key vault holds."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from shared.application.ports.secrets import Secrets
from shared.domain.tenancy.keys import secret_digest


class AdminKey:
    """Recognizes the administrator's key. While a vault replaces it, the new and the old one are accepted."""

    def __init__(self, secrets: Secrets, name: str) -> None:
        """`name` is that of the secret; empty if there is no such key."""
        self._secrets = secrets
        self._name = name

    async def accepts(self, credential: str) -> bool:
        """Tell whether a credential is the key; it must not be empty. Raises `SecretUnavailable` if it is not known.

        An unknown credential has the key read anew, but rarely: so a new key is accepted as soon as it is used.
        """
        if not self._name:
            return _is_one_of((), credential)
        accepted = await self._secrets.accepted(self._name)
        if _is_one_of(accepted, credential):
            return True
        newer = await self._secrets.refused(self._name, accepted[0])
        return newer is not None and _is_one_of((newer,), credential)


def _is_one_of(values: Iterable[str], credential: str) -> bool:
    """Compare in constant time, and at least once, so that timing tells nothing about other keys."""
    digest = secret_digest(credential)
    return any(hmac.compare_digest(digest, secret_digest(value)) for value in values or ("",))
