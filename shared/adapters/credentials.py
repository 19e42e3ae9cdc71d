"""The process's one outbound identity: an async azure-identity credential with tokens kept ahead of their expiry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
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
    """Implements `TokenProvider`: one request a scope in flight, refreshed ahead of expiry.

    The credential is made when it is first needed: azure-identity is not imported where no identity is used.
    """

    def __init__(self, make_credential: Callable[[], AsyncTokenCredential]) -> None:
        self._make_credential = make_credential
        self._credential: AsyncTokenCredential | None = None
        self._tokens: dict[str, AccessToken] = {}
        self._requests: dict[str, asyncio.Task[AccessToken]] = {}

    @property
    def credential(self) -> AsyncTokenCredential:
        """The process's one credential, for SDK clients that take one."""
        if self._credential is None:
            self._credential = self._make_credential()
        return self._credential

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
        if self._credential is not None:
            await self._credential.close()

    def _request(self, scope: str) -> asyncio.Task[AccessToken]:
        request = self._requests.get(scope)
        if request is None:
            request = asyncio.create_task(self._fetch(scope))
            request.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._requests[scope] = request
        return request

    async def _fetch(self, scope: str) -> AccessToken:
        from azure.core.exceptions import AzureError

        try:
            token = await self.credential.get_token(scope)
        except AzureError as error:
            raise IdentityUnavailable("The gateway's own identity could not be obtained.") from error
        finally:
            del self._requests[scope]
        self._tokens[scope] = token
        return token


def managed_identity(client_id: str) -> AsyncTokenCredential:
    """Managed identity, user-assigned where a client id is given."""
    from azure.identity.aio import ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=client_id or None)


def developer_identity(client_id: str) -> AsyncTokenCredential:
    """Whatever a developer machine or workload offers: environment, workload identity, Azure CLI and the like."""
    from azure.identity.aio import DefaultAzureCredential

    return DefaultAzureCredential(managed_identity_client_id=client_id or None)
