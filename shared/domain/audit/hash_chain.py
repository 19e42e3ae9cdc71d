"""The hash chain over ledger entries: any later change of an entry shows."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping

from shared.domain.stored_fields import FieldValue

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def genesis(period: str, partition_key: str) -> str:
    """The head of an empty chain, different for each lane and period, so that no chain passes for another's."""
    return hashlib.sha256(f"{period}/{partition_key}".encode()).hexdigest()


class HashChain:
    """`h = HMAC-SHA256(key, previous h || canonical entry)`, in hexadecimal.

    `encode` must give the bytes of `canonical`; an adapter may know a faster way to them.
    """

    def __init__(self, key: bytes, encode: Callable[[Mapping[str, FieldValue]], bytes] | None = None) -> None:
        self._keyed = hmac.new(key, digestmod=hashlib.sha256)
        self._encode = encode or canonical

    def extend(self, head: str, fields: Mapping[str, FieldValue]) -> str:
        """The head after an entry with these fields, every one of which is covered."""
        seal = self._keyed.copy()  # a key is worked in once: that costs as much as an entry
        seal.update(head.encode() + self._encode(fields))
        return seal.hexdigest()

    def __repr__(self) -> str:
        return "HashChain(key=***)"


def canonical(fields: Mapping[str, FieldValue]) -> bytes:
    """The one byte string for a set of fields, in any order: JSON with sorted names, no spaces, UTF-8."""
    return _encode(fields).encode()
