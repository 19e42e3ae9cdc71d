"""The hash chain as earlier versions wrote it: an HMAC by the only key, and no method."""

from __future__ import annotations

import hmac

from shared.domain.audit.hash_chain import HashChain, KeyRing, canonical
from shared.domain.stored_fields import Fields


class EarlierChain(HashChain):
    """A process of an earlier version, which knows one key and no versions of it."""

    def __init__(self, key: bytes) -> None:
        super().__init__(KeyRing(keys={"0": key}))
        self._key = key

    def seal(self, head: str, fields: Fields) -> str:
        """Add the hash to the fields of an entry. Returns the hash."""
        fields["hash"] = hmac.digest(self._key, head.encode() + canonical(fields), "sha256").hex()
        return str(fields["hash"])
