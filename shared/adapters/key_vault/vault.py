"""Read secrets through the SDK of Azure Key Vault, whose errors become `SecretUnavailable`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from shared.application.ports.secrets import SecretVersion
from shared.domain.errors import SecretUnavailable
from shared.domain.values import value

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import HttpResponseError
    from azure.keyvault.secrets import KeyVaultSecret, SecretProperties
    from azure.keyvault.secrets.aio import SecretClient

T = TypeVar("T")
_READ_SECONDS: Final = 10.0
"""The longest time of a reading with its retries, which a request may have to wait for."""
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_NOT_FOUND: Final = 404
_FORBIDDEN: Final = 403
_UNREADABLE: Final = (ValueError, TypeError, AttributeError, LookupError)
"""A challenge for another domain, an answer that is no JSON, or one without the members that the SDK relies on."""


@value
class ListedVersion:
    """The name of a version, and whether it may be read."""

    version: str
    is_enabled: bool


class Vault:
    """One vault. Connects when it is first read, so that the SDK is imported only where there is a vault.

    The SDK verifies that the vault's challenge asks for a token of the vault's own domain:
    https://devblogs.microsoft.com/azure-sdk/guidance-for-applications-using-the-key-vault-libraries/
    """

    def __init__(self, url: str, credential: Callable[[], AsyncTokenCredential]) -> None:
        self._url = url
        self._credential = credential
        self._client: SecretClient | None = None

    async def newest(self, name: str) -> SecretVersion:
        """Read the newest version. Raises `SecretUnavailable`, as all methods do."""
        return await self.version(name, "")

    async def version(self, name: str, version: str) -> SecretVersion:
        """Read one version."""

        async def read(client: SecretClient) -> SecretVersion:
            return _version(await client.get_secret(name, version))

        return await self._ask(name, read)

    async def versions(self, name: str) -> list[ListedVersion]:
        """Return the names of all versions, oldest first."""

        async def listed(client: SecretClient) -> list[ListedVersion]:
            found = [each async for each in client.list_properties_of_secret_versions(name)]
            found.sort(key=_created_at)
            return [ListedVersion(each.version or "", bool(each.enabled)) for each in found]

        return await self._ask(name, listed)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    async def _ask(self, name: str, ask: Callable[[SecretClient], Awaitable[T]]) -> T:
        """Ask the vault. No error of the SDK is passed on: one of an answer that it cannot read may quote the value."""
        from azure.core.exceptions import AzureError, HttpResponseError

        try:
            async with asyncio.timeout(_READ_SECONDS):
                return await ask(self._connected())
        except HttpResponseError as error:
            raise _unavailable(name, error) from None
        except (AzureError, TimeoutError):
            raise _unreachable(name) from None
        except _UNREADABLE:
            problem = f"The key vault did not answer as one, so the secret '{name}' is not known."
            raise SecretUnavailable(problem) from None

    def _connected(self) -> SecretClient:
        if self._client is None:
            from azure.keyvault.secrets.aio import SecretClient

            self._client = SecretClient(
                self._url,
                self._credential(),
                retry_total=2,
                retry_backoff_factor=0.2,
                connection_timeout=3,
                read_timeout=5,
            )
        return self._client


def _version(secret: KeyVaultSecret) -> SecretVersion:
    properties = secret.properties
    return SecretVersion(version=properties.version or "", created_at=_created_at(properties), value=secret.value or "")


def _created_at(properties: SecretProperties) -> datetime:
    """Return the time of a version. The SDK passes on what is no time."""
    made = properties.created_on
    return made if isinstance(made, datetime) else _LONG_AGO


def _unavailable(name: str, error: HttpResponseError) -> SecretUnavailable:
    """Translate a refusal. Only an answer in the vault's own words says that a secret is gone."""
    from azure.core.exceptions import ClientAuthenticationError

    code = getattr(error.error, "code", None)
    if isinstance(error, ClientAuthenticationError):  # also if the identity gave no token
        return SecretUnavailable(
            f"The gateway could not sign in to the key vault, so the secret '{name}' is not known."
        )
    if error.status_code == _NOT_FOUND and code == "SecretNotFound":
        return SecretUnavailable(f"The secret '{name}' does not exist in the key vault.", is_gone=True)
    if error.status_code == _FORBIDDEN and _is_disabled(error):
        return SecretUnavailable(f"The secret '{name}' is disabled in the key vault.", is_gone=True)
    if error.status_code == _FORBIDDEN:
        return SecretUnavailable(f"The gateway is not allowed to read the secret '{name}' in the key vault.")
    return _unreachable(name)


def _unreachable(name: str) -> SecretUnavailable:
    return SecretUnavailable(f"The key vault cannot be reached, so the secret '{name}' is not known.")


def _is_disabled(error: HttpResponseError) -> bool:
    """Tell whether the vault refused a secret because it is disabled, which its inner code says."""
    details = getattr(error.error, "innererror", None)
    return isinstance(details, dict) and details.get("code") == "SecretDisabled"
