"""Probe a backend through the openai SDK: here the gateway is itself a caller (ADR 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.adapters.identity.credentials import TokenProvider
from shared.domain.errors import StorageUnavailable
from shared.domain.routing.catalog import Backend, BackendApi, BackendAuth

if TYPE_CHECKING:
    from openai import AsyncOpenAI

PROBE_API_VERSION = "2024-10-21"
"""Sent to backends that have no API version of their own."""
PROBE_TIMEOUT_SECONDS = 5.0


class OpenAIProbe:
    """Implements `BackendProbe` by listing models, which costs no tokens."""

    def __init__(self, tokens: TokenProvider, api_key: str) -> None:
        self._tokens = tokens
        self._api_key = api_key

    async def reachable(self, backend: Backend) -> bool:
        from openai import OpenAIError

        try:
            async with self._client(backend) as client:
                await client.models.list()
        except (OpenAIError, StorageUnavailable):
            return False
        return True

    def _client(self, backend: Backend) -> AsyncOpenAI:
        """Make a client that is used once. Imports the SDK late, because that takes 0.7 s of a cold start."""
        from openai import AsyncAzureOpenAI, AsyncOpenAI

        async def token() -> str:
            return await self._tokens.token(backend.token_scope, backend.authority)

        has_identity = backend.auth is BackendAuth.MANAGED_IDENTITY
        bounds: dict[str, Any] = {
            "timeout": PROBE_TIMEOUT_SECONDS, "max_retries": 0, "default_headers": {**backend.headers}
        }  # fmt: skip
        if backend.api is BackendApi.OPENAI:
            return AsyncOpenAI(base_url=backend.endpoint, api_key=token if has_identity else self._api_key, **bounds)
        credential: dict[str, Any] = {"azure_ad_token_provider": token} if has_identity else {"api_key": self._api_key}
        return AsyncAzureOpenAI(
            azure_endpoint=backend.endpoint,
            api_version=backend.api_version or PROBE_API_VERSION,
            **credential,
            **bounds,
        )
