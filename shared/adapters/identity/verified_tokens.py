"""Remember tokens that were verified. A token itself is never kept: its SHA-256 stands for it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

from shared.domain.identity.access_token import AccessTokenClaims

_MAX_WEIGHT: Final = 100_000
"""Tokens, roles and groups that are remembered: 10 to 20 MB."""


class VerifiedTokens:
    """Facts of tokens by digest, each until a moment of the monotonic clock. The least recently used go first."""

    def __init__(self, max_weight: int = _MAX_WEIGHT) -> None:
        self._max_weight = max_weight
        self._weight = 0
        self._known: OrderedDict[bytes, tuple[float, AccessTokenClaims]] = OrderedDict()

    def get(self, digest: bytes, now: float) -> AccessTokenClaims | None:
        """Return the facts of a token; `None` if it is not known at this moment."""
        known = self._known.get(digest)
        if known is None:
            return None
        until, claims = known
        if now >= until:
            self._forget(digest)
            return None
        self._known.move_to_end(digest)
        return claims

    def put(self, digest: bytes, claims: AccessTokenClaims, until: float) -> None:
        """Remember the facts of a token until a moment."""
        self._forget(digest)
        self._known[digest] = (until, claims)
        self._weight += _weight_of(claims)
        while self._weight > self._max_weight:
            self._forget(next(iter(self._known)))

    def clear(self) -> None:
        """Forget all tokens."""
        self._known.clear()
        self._weight = 0

    def _forget(self, digest: bytes) -> None:
        known = self._known.pop(digest, None)
        if known is not None:
            self._weight -= _weight_of(known[1])


def digest_of(token: str) -> bytes:
    """Return the SHA-256 of a text. Any text has one."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _weight_of(claims: AccessTokenClaims) -> int:
    return 10 + len(claims.roles) + len(claims.groups)
