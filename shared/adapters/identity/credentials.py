"""Access tokens of the process's one identity, through azure-identity, cached and refreshed before they expire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from shared.domain.errors import StorageUnavailable

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

REFRESH_AHEAD_SECONDS = 300
"""A token is refreshed this long before it expires."""

_FEW_RETRIES: Final[Mapping[str, Any]] = {"retry_total": 2, "retry_backoff_factor": 0.2, "connection_timeout": 5}
"""For an identity provider over the network. The SDK's own retries take minutes, while requests wait."""


class TokenProvider(Protocol):
    """Gives access tokens of the process's one identity."""

    async def token(self, scope: str, authority: str = "") -> str:
        """Return a token for `scope` that is valid now. An empty `authority` is that of the public cloud.

        Raises `StorageUnavailable` if the identity gives none.
        """
        ...


class IdentityUnavailable(StorageUnavailable):
    """The identity endpoint gave no token."""


_TokenKey: TypeAlias = tuple[str, str]
"""Scope and authority."""


class CachedTokens:
    """Implements `TokenProvider`. All callers of a scope share one request for a token.

    Makes a credential when it is first needed, so that azure-identity is not imported if no identity is used.
    """

    def __init__(self, make_credential: Callable[[str], AsyncTokenCredential]) -> None:
        self._make_credential = make_credential
        self._credentials: dict[str, AsyncTokenCredential] = {}
        self._tokens: dict[_TokenKey, AccessToken] = {}
        self._requests: dict[_TokenKey, asyncio.Task[AccessToken]] = {}

    @property
    def credential(self) -> AsyncTokenCredential:
        """The public cloud's credential, for SDK clients that take one."""
        return self._credential("")

    async def token(self, scope: str, authority: str = "") -> str:
        key = (scope, authority)
        held = self._tokens.get(key)
        now = time.time()
        if held is not None and now < held.expires_on - REFRESH_AHEAD_SECONDS:
            return held.token
        request = self._join_or_start(key)  # in the background, while the held token is valid
        if held is not None and now < held.expires_on:
            return held.token
        return (await asyncio.shield(request)).token  # a caller that is cancelled must not cancel it for the others

    async def close(self) -> None:
        """Release the credentials' connections."""
        for credential in self._credentials.values():
            await credential.close()

    def _credential(self, authority: str) -> AsyncTokenCredential:
        if authority not in self._credentials:
            self._credentials[authority] = self._make_credential(authority)
        return self._credentials[authority]

    def _join_or_start(self, key: _TokenKey) -> asyncio.Task[AccessToken]:
        """Return the request for a token that is under way, or start one."""
        request = self._requests.get(key)
        if request is None:
            request = asyncio.create_task(self._fetch(key))
            # Retrieves the error: nobody awaits the request while the held token is still valid.
            request.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._requests[key] = request
        return request

    async def _fetch(self, key: _TokenKey) -> AccessToken:
        """Ask the identity endpoint. Raises `IdentityUnavailable`."""
        from azure.core.exceptions import AzureError

        scope, authority = key
        try:
            token = await self._credential(authority).get_token(scope)
        except AzureError as error:
            raise IdentityUnavailable("The gateway could not obtain an access token of its identity.") from error
        finally:
            del self._requests[key]
        self._tokens[key] = token
        return token


def managed_identity(client_id: str, authority: str) -> AsyncTokenCredential:  # noqa: ARG001 - the platform knows it
    """Return the managed identity: the user-assigned one if `client_id` is given. Its cloud is where it runs."""
    from azure.identity.aio import ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=client_id or None)


def federated_identity(client_id: str, directory_id: str, authority: str, token_file: Path) -> AsyncTokenCredential:
    """Return the identity that trusts a Kubernetes service account, whose token is in a file. Its cloud is `authority`.

    The file is read for each exchange, because Kubernetes renews it. An empty `authority` is that of the public cloud.
    """
    from azure.identity.aio import ClientAssertionCredential

    return ClientAssertionCredential(
        directory_id,
        client_id,
        partial(_service_account_token, token_file),
        authority=authority or None,
        **_FEW_RETRIES,
    )


def _service_account_token(file: Path) -> str:
    """Raise an error of the SDK if there is no token, because its clients expect no other."""
    from azure.identity import CredentialUnavailableError

    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise CredentialUnavailableError("The token of the service account cannot be read.") from error


def developer_identity(client_id: str, authority: str) -> AsyncTokenCredential:
    """Return the first identity that the machine offers: environment, workload identity, Azure CLI and others."""
    from azure.identity.aio import DefaultAzureCredential

    options = {"authority": authority} if authority else {}
    return DefaultAzureCredential(managed_identity_client_id=client_id or None, **options)
