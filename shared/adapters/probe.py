"""Asks a backend through the openai SDK: here the gateway is itself a caller, so the SDK is the client (ADR 3)."""

from __future__ import annotations

from typing import Any

from shared.adapters.credentials import TokenProvider
from shared.domain.errors import StorageUnavailable
from shared.domain.routing import Backend, BackendAuth

PROBE_API_VERSION = "2024-10-21"
PROBE_TIMEOUT_SECONDS = 5.0


class OpenAIProbe:
    """Implements `BackendProbe` by listing models, which costs no tokens."""

    def __init__(self, tokens: TokenProvider, api_key: str) -> None:
        self._tokens = tokens
        self._api_key = api_key

    async def reachable(self, backend: Backend) -> bool:
        from openai import AsyncAzureOpenAI, OpenAIError

        credential: dict[str, Any] = {"api_key": self._api_key}
        if backend.auth is BackendAuth.MANAGED_IDENTITY:
            credential = {"azure_ad_token_provider": lambda: self._tokens.token(backend.token_scope)}
        try:
            async with AsyncAzureOpenAI(
                azure_endpoint=backend.endpoint,
                api_version=backend.api_version or PROBE_API_VERSION,
                timeout=PROBE_TIMEOUT_SECONDS,
                max_retries=0,
                **credential,
            ) as client:
                await client.models.list()
        except (OpenAIError, StorageUnavailable):
            return False
        return True
