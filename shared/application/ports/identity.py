"""The port to the identity provider."""

from __future__ import annotations

from typing import Protocol

from shared.domain.identity.access_token import AccessTokenClaims


class TokenVerifier(Protocol):
    """Verifies access tokens of Entra ID."""

    async def verify(self, token: str) -> AccessTokenClaims:
        """Return the claims of a token that is valid now.

        Raises `InvalidToken` for any other text, and `IdentityProviderUnavailable` if the keys of the issuer are not
        known and cannot be fetched.
        """
        ...
