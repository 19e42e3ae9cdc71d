"""Probe a backend through the openai SDK: here the gateway is itself a caller (ADR 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.adapters.azure_openai.backend_keys import BackendKeys
from shared.adapters.identity.credentials import TokenProvider
from shared.domain.errors import BackendUnavailable, StorageUnavailable
from shared.domain.routing.catalog import Backend, BackendApi, BackendAuth

if TYPE_CHECKING:
    from openai import AsyncOpenAI

PROBE_API_VERSION = "2024-10-21"
"""Sent to backends that have no API version of their own."""
PROBE_TIMEOUT_SECONDS = 5.0


class OpenAIProbe:
    """Implements `BackendProbe` by listing models, which costs no tokens."""

    def __init__(self, tokens: TokenProvider, keys: BackendKeys) -> None:
        self._tokens = tokens
        self._keys = keys

    async def reachable(self, backend: Backend) -> bool:
        from openai import AuthenticationError, OpenAIError

        has_identity, key = backend.auth is BackendAuth.MANAGED_IDENTITY, None
        try:
            key = None if has_identity else await self._keys.key(backend)
            await self._list_models(backend, key)
        except AuthenticationError:
            another = None if key is None else await self._keys.another(backend, key)
            return another is not None and await self._accepts(backend, another)
        except (OpenAIError, StorageUnavailable, BackendUnavailable):
            return False
        return True

    async def _accepts(self, backend: Backend, key: str) -> bool:
        from openai import OpenAIError

        try:
            await self._list_models(backend, key)
        except OpenAIError:
            return False
        return True

    async def _list_models(self, backend: Backend, key: str | None) -> None:
        async with self._client(backend, key) as client:
            await client.models.list()

    def _client(self, backend: Backend, key: str | None) -> AsyncOpenAI:
        """Make a client that is used once; without a key it signs in. Importing the SDK takes 0.7 s, so it is late."""
        from openai import AsyncAzureOpenAI, AsyncOpenAI

        async def token() -> str:
            return await self._tokens.token(backend.token_scope, backend.authority)

        bounds: dict[str, Any] = {
            "timeout": PROBE_TIMEOUT_SECONDS, "max_retries": 0, "default_headers": {**backend.headers}
        }  # fmt: skip
        if backend.api is BackendApi.OPENAI:
            return AsyncOpenAI(base_url=backend.endpoint, api_key=token if key is None else key, **bounds)
        credential: dict[str, Any] = {"azure_ad_token_provider": token} if key is None else {"api_key": key}
        return AsyncAzureOpenAI(
            azure_endpoint=backend.endpoint,
            api_version=backend.api_version or PROBE_API_VERSION,
            **credential,
            **bounds,
        )
