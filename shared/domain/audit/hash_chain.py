"""The hash chain over ledger entries. It reveals any later change of an entry."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping

from shared.domain.stored_fields import FieldValue

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def genesis(period: str, partition_key: str) -> str:
    """Return the head of an empty chain. Each lane and period has its own, so no chain can stand in for another."""
    return hashlib.sha256(f"{period}/{partition_key}".encode()).hexdigest()


class HashChain:
    """Seals entries: `hash = HMAC-SHA256(key, previous hash || canonical entry)`, in hexadecimal.

    `encode` must return the same bytes as `canonical`; an adapter may pass a faster encoder.
    """

    def __init__(self, key: bytes, encode: Callable[[Mapping[str, FieldValue]], bytes] | None = None) -> None:
        self._key = key
        self._encode = encode or canonical

    def extend(self, head: str, fields: Mapping[str, FieldValue]) -> str:
        """Return the hash of the entry that follows `head`. It covers all of the entry's `fields`."""
        return hmac.digest(self._key, head.encode() + self._encode(fields), "sha256").hex()

    def __repr__(self) -> str:
        return "HashChain(key=***)"


def canonical(fields: Mapping[str, FieldValue]) -> bytes:
    """Return the canonical bytes of a set of fields: JSON with sorted names, without spaces, in UTF-8."""
    return _encode(fields).encode()
