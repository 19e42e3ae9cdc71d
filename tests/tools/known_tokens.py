"""An identity provider in memory, at the port: it knows the claims of the tokens that it issued."""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime
from typing import Any, Final

from shared.domain.errors import InvalidToken
from shared.domain.identity.access_token import AccessTokenClaims

DIRECTORY: Final = "11111111-1111-4111-8111-111111111111"
APPLICATION: Final = "22222222-2222-4222-8222-222222222222"
PERSON: Final = "33333333-3333-4333-8333-333333333333"


class KnownTokens:
    """Implements `TokenVerifier`. Its tokens have the form of signed ones, but no signature."""

    def __init__(self) -> None:
        self._issued: dict[str, AccessTokenClaims] = {}

    def issue(self, claims: AccessTokenClaims) -> str:
        """Return a new token with these claims."""
        header = base64.urlsafe_b64encode(b'{"alg":"RS256","typ":"JWT"}').decode()
        token = f"{header}.{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"
        self._issued[token] = claims
        return token

    async def verify(self, token: str) -> AccessTokenClaims:
        if token not in self._issued:
            raise InvalidToken("It is not signed by a trusted key.")
        return self._issued[token]


def person_claims(**fields: Any) -> AccessTokenClaims:
    """Make the claims of a person who signed in through an application."""
    return _claims({"object_id": PERSON, "is_person": True, **fields})


def application_claims(**fields: Any) -> AccessTokenClaims:
    """Make the claims of an application that acts by itself."""
    return _claims({"object_id": "44444444-4444-4444-8444-444444444444", "is_person": False, **fields})


def _claims(fields: dict[str, Any]) -> AccessTokenClaims:
    named = {
        "directory_id": DIRECTORY,
        "application_id": APPLICATION,
        "expires_at": datetime(2030, 1, 1, tzinfo=UTC),
        **fields,
    }
    return AccessTokenClaims(**named)
