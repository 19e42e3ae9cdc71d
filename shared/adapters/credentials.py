"""The process's one outbound identity: an async azure-identity credential with tokens kept ahead of their expiry."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from shared.domain.errors import StorageUnavailable

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

REFRESH_AHEAD_SECONDS = 300


class TokenProvider(Protocol):
    """Hands out access tokens of the process's one identity."""

    async def token(self, scope: str) -> str:
        """A token for `scope` that is valid now; raises `StorageUnavailable` if none is to be had."""
        ...


class IdentityUnavailable(StorageUnavailable):
    """The identity endpoint gave no token."""


class CachedTokens:
    """Implements `TokenProvider`: one request a scope in flight, refreshed ahead of expiry."""

    def __init__(self, credential: AsyncTokenCredential) -> None:
        self.credential = credential
        self._tokens: dict[str, AccessToken] = {}
        self._requests: dict[str, asyncio.Task[AccessToken]] = {}

    async def token(self, scope: str) -> str:
        held = self._tokens.get(scope)
        now = time.time()
        if held is not None and now < held.expires_on - REFRESH_AHEAD_SECONDS:
            return held.token
        request = self._request(scope)
        if held is not None and now < held.expires_on:
            return held.token
        return (await asyncio.shield(request)).token

    async def close(self) -> None:
        """Release the credential's connections."""
        await self.credential.close()

    def _request(self, scope: str) -> asyncio.Task[AccessToken]:
        request = self._requests.get(scope)
        if request is None:
            request = asyncio.create_task(self._fetch(scope))
            request.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._requests[scope] = request
        return request

    async def _fetch(self, scope: str) -> AccessToken:
        from azure.core.exceptions import ClientAuthenticationError

        try:
            token = await self.credential.get_token(scope)
        except ClientAuthenticationError as error:
            raise IdentityUnavailable("The gateway's own identity could not be obtained.") from error
        finally:
            del self._requests[scope]
        self._tokens[scope] = token
        return token


def managed_identity(client_id: str) -> CachedTokens:
    """Managed identity, user-assigned where a client id is given."""
    from azure.identity.aio import ManagedIdentityCredential

    return CachedTokens(ManagedIdentityCredential(client_id=client_id or None))


def developer_identity(client_id: str) -> CachedTokens:
    """Whatever a developer machine or workload offers: environment, workload identity, Azure CLI and the like."""
    from azure.identity.aio import DefaultAzureCredential

    return CachedTokens(DefaultAzureCredential(managed_identity_client_id=client_id or None))
