"""The versions of the privacy key, from which each tenant's own keys are derived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.application.ports.secrets import Secrets
from shared.domain.errors import InvalidRequest, SecretUnavailable
from shared.domain.tenancy.tenant import Tenant

_NEEDED: Final = "needs PRIVACY_KEY or PRIVACY_KEY_SECRET_NAME in the settings of the gateway."


class PrivacyKeys:
    """Reads the privacy key. It is never the key of the chain, so that whoever verifies cannot test names of users."""

    def __init__(self, secrets: Secrets, name: str) -> None:
        """`name` is that of the secret; empty if there is none."""
        self._secrets = secrets
        self._name = name

    def check(self, tenant: Tenant) -> None:
        """Raise `InvalidRequest` if the tenant asks for what needs a privacy key, and there is none."""
        for setting in ("pseudonymise_users", "prompt_hmac"):
            if getattr(tenant, setting) and not self._name:
                raise InvalidRequest(f"'{setting}' {_NEEDED}", setting)

    async def newest(self) -> bytes:
        """Return the newest version. Raises `SecretUnavailable`."""
        held = self._secrets.held(self._name)
        return (await self._secrets.get(self._required()) if held is None else held).encode()

    async def all(self) -> Sequence[bytes]:
        """Return all versions, newest first. Raises `SecretUnavailable`."""
        versions = await self._secrets.versions(self._required())
        return [each.value.encode() for each in reversed(versions)]

    def _required(self) -> str:
        if not self._name:
            raise SecretUnavailable(f"The privacy of this tenant {_NEEDED}")
        return self._name
