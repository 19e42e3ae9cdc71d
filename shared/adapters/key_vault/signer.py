"""The key of an Azure Key Vault that signs checkpoints. The private part never leaves the vault."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from shared.adapters import ecdsa_keys
from shared.application.ports.anchors import KeySignature, SigningUnavailable
from shared.application.ports.clock import Clock
from shared.domain.audit.signed_note import PublicKey
from shared.domain.values import value

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.keyvault.keys import KeyProperties, KeyVaultKey
    from azure.keyvault.keys.aio import KeyClient

SIGNING_VERSIONS: Final = 2
"""The newest enabled version signs, and beside it the one before, until it is disabled."""
MAX_VERSIONS: Final = 50
"""Older versions of the key are not read."""
LISTED_SECONDS: Final = 60.0
_SECONDS: Final = 20.0
_FORBIDDEN: Final = 403
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_UNREADABLE: Final = (ValueError, TypeError, AttributeError, LookupError)
"""A challenge for another domain, an answer that is no JSON, or one without the members that the SDK relies on."""


@value
class _Version:
    name: str
    is_enabled: bool
    may_sign: bool


class VaultSigner:
    """Implements `CheckpointSigner`. Connects when it is first used. Lists the key's versions at most once a minute.

    Rotation needs no restart: a new version signs from the next run on.
    """

    def __init__(self, url: str, credential: Callable[[], AsyncTokenCredential], name: str, clock: Clock) -> None:
        self._url = url
        self._credential = credential
        self._name = name
        self._clock = clock
        self._client: KeyClient | None = None
        self._versions: Sequence[_Version] = ()
        self._listed_until = 0.0
        self._keys: dict[str, PublicKey] = {}

    async def sign(self, message: bytes) -> Sequence[KeySignature]:
        digest = hashlib.sha256(message).digest()
        with self._translated_errors():
            async with asyncio.timeout(_SECONDS):
                versions = await self._all_versions()
                signing = [each.name for each in versions if each.may_sign][:SIGNING_VERSIONS]
                if not signing:
                    raise SigningUnavailable(f"The key '{self._name}' has no version that may sign now.")
                return [KeySignature(await self._key(each), await self._signed(each, digest)) for each in signing]

    async def public_keys(self) -> Sequence[PublicKey]:
        with self._translated_errors():
            async with asyncio.timeout(_SECONDS):
                found = [await self._shown_key(each) for each in await self._all_versions()]
        return [key for key in found if key is not None]

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    async def _all_versions(self) -> Sequence[_Version]:
        """Return the versions of the key, the newest first."""
        if self._clock.monotonic() >= self._listed_until:
            listed = [each async for each in self._connected().list_properties_of_key_versions(self._name)]
            listed.sort(key=lambda each: each.created_on or _LONG_AGO, reverse=True)
            now = self._clock.now()
            self._versions = [
                _Version(each.version or "", bool(each.enabled), _may_sign(each, now)) for each in listed[:MAX_VERSIONS]
            ]
            self._listed_until = self._clock.monotonic() + LISTED_SECONDS
        return self._versions

    async def _key(self, version: str) -> PublicKey:
        if version not in self._keys:
            self._keys[version] = _public_key(await self._connected().get_key(self._name, version))
        return self._keys[version]

    async def _shown_key(self, version: _Version) -> PublicKey | None:
        """Return the public part; `None` for a disabled version that the vault does not show."""
        from azure.core.exceptions import HttpResponseError

        try:
            return await self._key(version.name)
        except HttpResponseError as error:
            if version.is_enabled or error.status_code != _FORBIDDEN:
                raise
            return None

    async def _signed(self, version: str, digest: bytes) -> bytes:
        from azure.keyvault.keys.crypto import SignatureAlgorithm

        client = self._connected().get_cryptography_client(self._name, key_version=version)
        result = await client.sign(SignatureAlgorithm.es256, digest)
        return ecdsa_keys.der_signature(result.signature)

    def _connected(self) -> KeyClient:
        if self._client is None:
            from azure.keyvault.keys.aio import KeyClient

            self._client = KeyClient(
                self._url,
                self._credential(),
                retry_total=2,
                retry_backoff_factor=0.2,
                connection_timeout=3,
                read_timeout=5,
            )
        return self._client

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        from azure.core.exceptions import AzureError

        try:
            yield
        except (AzureError, TimeoutError, *_UNREADABLE) as error:
            cause = getattr(error, "status_code", None) or type(error).__name__
            raise SigningUnavailable(f"The key '{self._name}' of the key vault cannot be used: {cause}.") from error


def _may_sign(key: KeyProperties, now: datetime) -> bool:
    begins, ends = key.not_before or _LONG_AGO, key.expires_on
    return bool(key.enabled) and begins <= now and (ends is None or now < ends)


def _public_key(key: KeyVaultKey) -> PublicKey:
    """Return the public part. Raises `KeyUnusable` if it is not of the curve P-256."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers

    x, y, curve = (getattr(key.key, name, None) for name in ("x", "y", "crv"))
    if curve != "P-256" or not isinstance(x, bytes) or not isinstance(y, bytes):
        raise ecdsa_keys.KeyUnusable("The key is not an EC key of the curve P-256.")
    numbers = EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), SECP256R1())
    return ecdsa_keys.of_key(numbers.public_key())
