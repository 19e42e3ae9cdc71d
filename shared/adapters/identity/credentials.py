"""The process's one outbound identity: an async azure-identity credential with tokens kept ahead of their expiry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from shared.domain.errors import StorageUnavailable

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

REFRESH_AHEAD_SECONDS = 300


class TokenProvider(Protocol):
    """Hands out access tokens of the process's one identity."""

    async def token(self, scope: str, authority: str = "") -> str:
        """A token for `scope` that is valid now, of the public cloud's authority or of another.

        Raises `StorageUnavailable` if none is to be had.
        """
        ...


class IdentityUnavailable(StorageUnavailable):
    """The identity endpoint gave no token."""


_Key: TypeAlias = tuple[str, str]


class CachedTokens:
    """Implements `TokenProvider`: one request a scope in flight, refreshed ahead of expiry.

    A credential is made when it is first needed: azure-identity is not imported where no identity is used.
    """

    def __init__(self, make_credential: Callable[[str], AsyncTokenCredential]) -> None:
        self._make_credential = make_credential
        self._credentials: dict[str, AsyncTokenCredential] = {}
        self._tokens: dict[_Key, AccessToken] = {}
        self._requests: dict[_Key, asyncio.Task[AccessToken]] = {}

    @property
    def credential(self) -> AsyncTokenCredential:
        """The process's credential of the public cloud, for SDK clients that take one."""
        return self._credential("")

    async def token(self, scope: str, authority: str = "") -> str:
        key = (scope, authority)
        held = self._tokens.get(key)
        now = time.time()
        if held is not None and now < held.expires_on - REFRESH_AHEAD_SECONDS:
            return held.token
        request = self._request(key)
        if held is not None and now < held.expires_on:
            return held.token
        return (await asyncio.shield(request)).token

    async def close(self) -> None:
        """Release the credentials' connections."""
        for credential in self._credentials.values():
            await credential.close()

    def _credential(self, authority: str) -> AsyncTokenCredential:
        if authority not in self._credentials:
            self._credentials[authority] = self._make_credential(authority)
        return self._credentials[authority]

    def _request(self, key: _Key) -> asyncio.Task[AccessToken]:
        request = self._requests.get(key)
        if request is None:
            request = asyncio.create_task(self._fetch(key))
            request.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._requests[key] = request
        return request

    async def _fetch(self, key: _Key) -> AccessToken:
        from azure.core.exceptions import AzureError

        scope, authority = key
        try:
            token = await self._credential(authority).get_token(scope)
        except AzureError as error:
            raise IdentityUnavailable("The gateway's own identity could not be obtained.") from error
        finally:
            del self._requests[key]
        self._tokens[key] = token
        return token


def managed_identity(client_id: str, authority: str) -> AsyncTokenCredential:  # noqa: ARG001 - the platform knows it
    """Managed identity, user-assigned where a client id is given. Its cloud is the one it runs in."""
    from azure.identity.aio import ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=client_id or None)


def developer_identity(client_id: str, authority: str) -> AsyncTokenCredential:
    """Whatever a developer machine or workload offers: environment, workload identity, Azure CLI and the like."""
    from azure.identity.aio import DefaultAzureCredential

    options = {"authority": authority} if authority else {}
    return DefaultAzureCredential(managed_identity_client_id=client_id or None, **options)
