"""Read a JSON Web Key Set (RFC 7517): the public keys with which an identity provider signs tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

LEAST_BITS: Final = 2048
_MOST_BITS: Final = 8192
"""A larger key would make each verification slow."""
_LEAST_EXPONENT: Final = 65_537
_MOST_EXPONENT: Final = 2**32
_MAX_KEYS: Final = 100
_PLACEHOLDER: Final = re.compile(r"\{tenantid\}", re.IGNORECASE)


def signing_keys_of(document: Mapping[str, Any], directory_id: str, issuers: Container[str]) -> dict[str, RSAPublicKey]:
    """Return the keys of a set by id that may sign tokens of a directory by RS256.

    - A key of another kind, use, algorithm or issuer is left out, and so is one that is too weak. An issuer may have a
      placeholder for the directory.
    - Of keys that share an id, none is returned, because readers could choose differently.
    """
    listed = document.get("keys")
    jwks = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    uses = Counter(str(jwk.get("kid")) for jwk in jwks)
    keys: dict[str, RSAPublicKey] = {}
    for jwk in jwks[:_MAX_KEYS]:
        key_id = jwk.get("kid")
        if isinstance(key_id, str) and uses[key_id] == 1 and _is_for(jwk, directory_id, issuers):
            keys |= _public_key(key_id, jwk)
    return keys


def _is_for(jwk: Mapping[str, Any], directory_id: str, issuers: Container[str]) -> bool:
    """Tell whether a key signs tokens of a directory by RS256, as far as it states that.

    Source of the rule for `issuer`: https://learn.microsoft.com/entra/identity-platform/access-tokens
    """
    issuer = jwk.get("issuer")
    return (
        jwk.get("use", "sig") == "sig"
        and jwk.get("alg", "RS256") == "RS256"
        and jwk.get("key_ops", ["verify"]) == ["verify"]
        and "d" not in jwk  # a private key that somebody has published
        and (issuer is None or _PLACEHOLDER.sub(directory_id, str(issuer)) in issuers)
    )


def _public_key(key_id: str, jwk: Mapping[str, Any]) -> dict[str, RSAPublicKey]:
    """Return an RSA key by its id. Returns nothing for another kind of key, or one that is malformed, weak or huge."""
    from jwt import InvalidKeyError
    from jwt.algorithms import RSAAlgorithm

    try:
        key = cast("RSAPublicKey", RSAAlgorithm.from_jwk({name: jwk.get(name) for name in ("kty", "n", "e")}))
    except (InvalidKeyError, TypeError, ValueError):
        return {}
    exponent = key.public_numbers().e
    is_sound = LEAST_BITS <= key.key_size <= _MOST_BITS and _LEAST_EXPONENT <= exponent < _MOST_EXPONENT
    return {key_id: key} if is_sound else {}
