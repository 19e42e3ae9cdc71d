"""The keys of backends whose `auth` is `api_key`."""

from __future__ import annotations

from shared.application.ports.secrets import Secrets
from shared.domain.errors import BackendUnavailable, SecretUnavailable
from shared.domain.routing.catalog import Backend


class BackendKeys:
    """Gives each backend the key that its `secret_name` names; without a name, the key that all such backends share."""

    def __init__(self, secrets: Secrets, default_name: str) -> None:
        self._secrets = secrets
        self._default_name = default_name

    def held(self, backend: Backend) -> str | None:
        """Return the key of a backend if it is at hand; `None` if `key` must be awaited."""
        return self._secrets.held(backend.secret_name or self._default_name)

    async def key(self, backend: Backend) -> str:
        """Return the key of a backend. Raises `BackendUnavailable`, which names the secret, if it is not known."""
        try:
            return await self._secrets.get(backend.secret_name or self._default_name)
        except SecretUnavailable as error:
            raise BackendUnavailable(str(error)) from error

    async def another(self, backend: Backend, refused: str) -> str | None:
        """Return another key to try, because the backend refused one; `None` if there is none."""
        try:
            return await self._secrets.refused(backend.secret_name or self._default_name, refused)
        except SecretUnavailable:
            return None
