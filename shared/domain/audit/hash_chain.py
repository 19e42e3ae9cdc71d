"""The hash chain over ledger entries and audit events. It reveals any later change of an entry.

An entry states its method. docs/reference/ledger.md has both formats:

- `sha256`: `hash` is a plain SHA-256, so that an auditor without a key recomputes it. `mac` is its HMAC.
- none: `hash` is an HMAC. Earlier versions wrote this form, and may go on while processes are replaced.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from shared.domain.stored_fields import Fields, FieldValue
from shared.domain.values import fact

SHA256: Final = "sha256"
"""The value of the field `method` in entries that are chained by a plain SHA-256."""
HMAC: Final = "hmac"
"""The method of entries without that field."""
UNKNOWN: Final = "unknown"
FIRST_VERSION: Final = "0"
"""The version of the only chain key that earlier versions had."""
KEY_VERSION: Final = re.compile(r"[0-9a-z]{1,32}")
DISCONTINUED: Final = "does not continue the chain"
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
"""The form of hashes and macs."""
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode

Encode: TypeAlias = Callable[[Mapping[str, FieldValue]], bytes]
"""Returns the same bytes as `canonical`; an adapter may pass a faster encoder."""


def genesis(period: str, partition_key: str) -> str:
    """Return the head of an empty chain. Each lane and period has its own, so no chain can stand in for another."""
    return hashlib.sha256(f"{period}/{partition_key}".encode()).hexdigest()


def canonical(fields: Mapping[str, FieldValue]) -> bytes:
    """Return the canonical bytes of a set of fields: JSON with sorted names, without spaces, in UTF-8."""
    return _encode(fields).encode()


class KeyRing:
    """The known versions of the chain key, and the newest, which signs."""

    def __init__(self, *, keys: Mapping[str, bytes], newest: str = FIRST_VERSION) -> None:
        """Raises `KeyError` if the newest is not among the keys."""
        self.keys = keys
        self.newest = newest
        self.signing_key = keys[newest]

    def __repr__(self) -> str:
        return f"KeyRing(keys=***, newest={self.newest!r})"


@fact
class Sealed:
    """A stored entry, split into the fields that its hash covers, its hash, and its mac."""

    covered: Mapping[str, FieldValue]
    hash: str
    mac: str = ""
    """Empty if there is none. Without a method the hash covers a field `mac` like any other."""

    @classmethod
    def from_fields(cls, row: Mapping[str, FieldValue]) -> Sealed:
        """Split the fields of a stored row."""
        covered = dict(row)
        stated = str(covered.pop("hash", ""))
        mac = str(covered.pop("mac", "")) if "method" in covered else ""
        return cls(covered=covered, hash=stated, mac=mac)

    def fields(self) -> Fields:
        """Return all fields, as they are stored."""
        return {**self.covered, "hash": self.hash, **({"mac": self.mac} if self.mac else {})}


@fact
class Link:
    """The result of checking one entry against the hash of the entry before it."""

    method: str
    key_version: str
    is_key_known: bool = True
    """`False`: of `sha256` only the hash was checked, and not the mac. Of `hmac` nothing was checked."""
    fault: str = ""
    """A predicate whose subject is the entry; empty if nothing is wrong."""
    property_name: str = ""
    """The property that is wrong, if it is a single one."""


class ChainVerifier:
    """Checks entries. It needs the keys of all versions that signed them; without a key it says what it left out."""

    def __init__(self, keys: Mapping[str, bytes], encode: Encode = canonical) -> None:
        self._keys = keys
        self._encode = encode

    def check(self, previous: str, sealed: Sealed) -> Link:
        """Check that an entry continues the chain after the hash `previous`, by the method that it states."""
        method = sealed.covered.get("method")
        if method is None:
            return self._check_hmac(previous, sealed)
        if method != SHA256:
            fault = f"states the unknown method {method!r}"
            return Link(method=UNKNOWN, key_version="", fault=fault, property_name="method")
        return self._check_sha256(previous, sealed)

    def _check_hmac(self, previous: str, sealed: Sealed) -> Link:
        key = self._keys.get(FIRST_VERSION)
        fault = next((f"has a {each}, but no method" for each in ("key_version", "mac") if each in sealed.covered), "")
        if key is not None:
            expected = hmac.digest(key, previous.encode() + self._encode(sealed.covered), "sha256").hex()
            fault = fault or ("" if expected == sealed.hash else DISCONTINUED)
        elif not DIGEST.fullmatch(sealed.hash):
            fault = fault or DISCONTINUED
        return Link(method=HMAC, key_version=FIRST_VERSION, is_key_known=key is not None, fault=fault)

    def _check_sha256(self, previous: str, sealed: Sealed) -> Link:
        stated = str(sealed.covered.get("key_version", ""))
        version = stated if KEY_VERSION.fullmatch(stated) else ""
        key = self._keys.get(version)
        fault, wrong = "", ""
        if hashlib.sha256(previous.encode() + self._encode(sealed.covered)).hexdigest() != sealed.hash:
            fault = DISCONTINUED
        elif not version:
            fault, wrong = "names no version of the chain key", "key_version"
        elif not DIGEST.fullmatch(sealed.mac):
            fault, wrong = "has no mac", "mac"
        elif key is not None and _mac(key, sealed.hash) != sealed.mac:
            fault, wrong = f"has a mac that key version {version} did not make", "mac"
        is_known = key is not None or not version
        return Link(method=SHA256, key_version=version, is_key_known=is_known, fault=fault, property_name=wrong)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(keys=***)"


class HashChain(ChainVerifier):
    """Seals entries: `hash` = SHA-256(previous hash || canonical entry), `mac` = HMAC-SHA256(newest key, hash)."""

    def __init__(self, ring: KeyRing, encode: Encode = canonical) -> None:
        super().__init__(ring.keys, encode)
        self.use(ring)

    def use(self, ring: KeyRing) -> None:
        """Check with the keys of `ring` and sign with its newest from now on."""
        self._keys = ring.keys
        self._newest = ring.newest
        # A copy of a keyed state costs half of setting up the key again (ADR 12).
        self._keyed = hmac.new(ring.signing_key, digestmod="sha256")

    def seal(self, head: str, fields: Fields) -> str:
        """Add method, key version, hash and mac to the fields of the entry that follows `head`. Returns the hash."""
        fields["method"] = SHA256
        fields["key_version"] = self._newest
        sealed = hashlib.sha256(head.encode() + self._encode(fields)).hexdigest()
        fields["hash"] = sealed
        mac = self._keyed.copy()
        mac.update(sealed.encode())
        fields["mac"] = mac.hexdigest()
        return sealed


def _mac(key: bytes, hash_: str) -> str:
    return hmac.digest(key, hash_.encode(), "sha256").hex()
