"""Verify access tokens of Entra ID.

PyJWT verifies signatures and reads keys. The form, the claims and the times are checked here: one strict reading serves
both the checks and the signature, and times are those of the gateway's clock, not of the machine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from shared.adapters.identity.signed_token import MAX_TOKEN_CHARACTERS, SignedToken, read_signed_token
from shared.adapters.identity.signing_keys import SigningKeys
from shared.adapters.identity.verified_tokens import VerifiedTokens, digest_of
from shared.application.ports.clock import Clock
from shared.domain.errors import InvalidToken
from shared.domain.identity.access_token import AccessTokenClaims
from shared.domain.identity.token_rules import TokenRules, accepted_claims

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

CACHE_SECONDS: Final = 300.0
"""The longest time after which a token is verified anew."""


class EntraAccessTokens:
    """Implements `TokenVerifier`. Remembers verified tokens for five minutes, but not beyond their end.

    Checks first what costs little. Only a token that claims to be meant for the gateway can cause a look at the keys.
    """

    def __init__(
        self, rules: TokenRules, keys: Mapping[str, SigningKeys], verified: VerifiedTokens, clock: Clock
    ) -> None:
        """`keys` holds the keys of each accepted directory."""
        self._rules = rules
        self._keys = keys
        self._verified = verified
        self._clock = clock

    async def verify(self, token: str) -> AccessTokenClaims:
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise InvalidToken(f"It has more than {MAX_TOKEN_CHARACTERS} characters.")
        digest = digest_of(token)
        known = self._verified.get(digest, self._clock.monotonic())
        return await self._verify(token, digest) if known is None else known

    async def close(self) -> None:
        """Stop fetches of keys that are under way."""
        for keys in self._keys.values():
            await keys.close()

    async def _verify(self, token: str, digest: bytes) -> AccessTokenClaims:
        read = read_signed_token(token)
        now = self._clock.now().timestamp()
        claims = accepted_claims(read.claims, self._rules, now)
        key = await self._keys[claims.directory_id].find(read.key_id)
        if key is None or not _is_signed(read, key):
            raise InvalidToken("It is not signed by a key of its directory.")
        seconds = min(CACHE_SECONDS, claims.expires_at.timestamp() - now)
        self._verified.put(digest, claims, self._clock.monotonic() + seconds)
        return claims


def _is_signed(token: SignedToken, key: RSAPublicKey) -> bool:
    from jwt.algorithms import RSAAlgorithm

    return RSAAlgorithm(RSAAlgorithm.SHA256).verify(token.signed, key, token.signature)
