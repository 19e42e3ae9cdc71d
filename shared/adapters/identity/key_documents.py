"""Fetch the signing keys of a directory: its OpenID configuration, and the set of keys that this names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from yarl import URL

from shared.adapters.identity.key_set import signing_keys_of
from shared.adapters.identity.strict_json import strict_object
from shared.domain.identity.authority import Authority

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_TIMEOUT_SECONDS: Final = 5.0
"""For each of the two documents."""
_MAX_BYTES: Final = 262_144
_OK: Final = 200
_HOST: Final = re.compile(r"https://([A-Za-z0-9.:-]+)/[A-Za-z0-9/._?=&-]*\Z")
"""A URL in which every reader finds the same host."""


class KeysNotFetched(Exception):
    """The keys could not be fetched. The message tells the fact, and shows no text of the answer."""


class KeyDocuments:
    """Fetches keys by https, from the hosts of the identity provider only, and follows no redirect."""

    def __init__(
        self, session: aiohttp.ClientSession, authority: Authority, timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session = session
        self._authority = authority

    async def fetch(self, directory_id: str) -> dict[str, RSAPublicKey]:
        """Return the keys of a directory by id, at least one. Raises `KeysNotFetched`."""
        issuers = self._authority.issuers(directory_id)
        configuration = await self._get(
            f"https://{self._authority.host}/{directory_id}/v2.0/.well-known/openid-configuration"
        )
        if configuration.get("issuer") not in issuers:
            raise KeysNotFetched("the OpenID configuration is that of another issuer")
        keys = signing_keys_of(await self._get(self._key_set_url(configuration)), directory_id, issuers)
        if not keys:
            raise KeysNotFetched("the set has no key that can be used")
        return keys

    def _key_set_url(self, configuration: Mapping[str, Any]) -> str:
        """Return the address of the set of keys, which must be at the identity provider."""
        url = str(configuration.get("jwks_uri"))
        host = _HOST.match(url)
        if host is None or host[1].lower().removesuffix(":443") not in self._authority.key_hosts:
            raise KeysNotFetched("the set of keys is not at the identity provider")
        return url

    async def _get(self, url: str) -> dict[str, Any]:
        """Return a JSON object."""
        try:
            body = await self._read(URL(url, encoded=True))
        except TimeoutError:
            raise KeysNotFetched("the identity provider did not answer in time") from None
        except aiohttp.ClientError as error:
            raise KeysNotFetched(f"the request failed by {type(error).__name__}") from error
        try:
            return strict_object(body)
        except ValueError:
            raise KeysNotFetched("an answer is no JSON object") from None

    async def _read(self, url: URL) -> bytes:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        body = bytearray()
        async with self._session.get(url, headers=headers, timeout=self._timeout, allow_redirects=False) as response:
            if response.status != _OK:
                raise KeysNotFetched(f"the status of an answer is {response.status}")
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise KeysNotFetched(f"an answer has more than {_MAX_BYTES} bytes")
        return bytes(body)
