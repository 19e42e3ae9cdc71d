"""The hash chain that makes any later change of an entry show, and the record of administrative acts."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def genesis(period: str, partition_key: str) -> str:
    """The head of an empty chain, different for each lane and period, so that no chain passes for another's."""
    return hashlib.sha256(f"{period}/{partition_key}".encode()).hexdigest()


class HashChain:
    """`h = HMAC-SHA256(key, previous h || canonical entry)`, in hexadecimal."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def extend(self, head: str, fields: Mapping[str, object]) -> str:
        """The head after an entry with these fields, every one of which is covered."""
        return hmac.digest(self._key, head.encode() + canonical(fields), "sha256").hex()

    def __repr__(self) -> str:
        return "HashChain(key=***)"


def canonical(fields: Mapping[str, object]) -> bytes:
    """The one byte string for a set of fields, whatever order they come in."""
    return _encode(fields).encode()


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """An administrative act: who did what to which object, with the object before and after it."""

    event_id: str
    at: datetime
    actor: str
    action: str
    target: str
    before: Mapping[str, object] | None = None
    after: Mapping[str, object] | None = None
    source_address: str = ""
