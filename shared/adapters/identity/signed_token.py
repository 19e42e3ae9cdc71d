"""Read the form of a signed JSON Web Token (RFC 7515, compact serialization), before anything of it is believed."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

from shared.adapters.identity.strict_json import strict_object
from shared.domain.errors import InvalidToken
from shared.domain.values import record

MAX_TOKEN_CHARACTERS: Final = 16_384
"""A token with 200 groups, the most that Entra puts into one, has about 12,000."""
_MAX_KEY_ID_CHARACTERS: Final = 256
_FORM: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_REFUSED_MEMBERS: Final = frozenset({"b64", "crit", "cty", "enc", "jku", "jwk", "x5c", "x5u", "zip"})
"""Members of a header that bring or name a key, change what is signed, or hold another token inside this one."""


@record
class SignedToken:
    """The parts of a token. Nothing of it is verified."""

    key_id: str
    claims: dict[str, Any]
    signed: bytes
    """The bytes that the signature covers."""
    signature: bytes


def read_signed_token(token: str) -> SignedToken:
    """Split and decode a token whose header asks for RS256. Raises `InvalidToken` for any other text."""
    parts = _FORM.fullmatch(token)
    if parts is None:
        raise InvalidToken("It does not have the form of a signed JSON Web Token.")
    try:
        header, claims = strict_object(_decoded(parts[1])), strict_object(_decoded(parts[2]))
        signature = _decoded(parts[3])
    except ValueError:
        raise InvalidToken("Its parts are not base64url, or not JSON objects with one value for each name.") from None
    return SignedToken(
        key_id=_key_id(header), claims=claims, signed=token[: parts.end(2)].encode("ascii"), signature=signature
    )


def _decoded(part: str) -> bytes:
    """Decode base64url without padding. Each sequence of bytes has one text. Raises `ValueError` for any other."""
    decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if urlsafe_b64encode(decoded).rstrip(b"=") != part.encode("ascii"):
        raise ValueError("The last character has bits that mean nothing.")
    return decoded


def _key_id(header: dict[str, Any]) -> str:
    """Return the id of the key that signed the token."""
    if header.get("alg") != "RS256" or header.get("typ") != "JWT":
        raise InvalidToken("Its header does not ask for RS256 ('alg') of a JWT ('typ').")
    if not _REFUSED_MEMBERS.isdisjoint(header):
        raise InvalidToken("Its header has members that Entra does not use.")
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= _MAX_KEY_ID_CHARACTERS:
        raise InvalidToken("Its header does not name a key ('kid').")
    return key_id
