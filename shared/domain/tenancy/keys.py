"""Gateway keys: the credentials of tenants."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Callable
from dataclasses import field
from datetime import datetime
from typing import Final

from shared.domain.identifiers import TENANT_ID
from shared.domain.values import record

_KEY_PREFIX: Final = "tg"
_FORM: Final = re.compile(f"{_KEY_PREFIX}_{TENANT_ID.pattern}-[0-9a-f]{{8}}_([A-Za-z0-9_-]{{1,49}})")
_RANDOM_BYTES: Final = 32
_RANDOM_CHARACTERS: Final = 43
_CHECKSUM_CHARACTERS: Final = 6
_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase


@record
class GatewayKey:
    """A credential of a tenant. Only a SHA-256 of its secret is stored; 256 random bits need no slow hash."""

    tenant_id: str
    key_id: str
    secret_sha256: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def accepts(self, secret: str, now: Callable[[], datetime]) -> bool:
        """Tell whether this key is in force and `secret` is its secret. Compares in constant time.

        Calls `now` only for a key that expires.
        """
        in_force = self.revoked_at is None and (self.expires_at is None or now() < self.expires_at)
        return hmac.compare_digest(secret_digest(secret), self.secret_sha256) and in_force


def new_gateway_key(tenant_id: str, now: datetime, expires_at: datetime | None) -> tuple[GatewayKey, str]:
    """Make a key and its credential `tg_{key id}_{secret}`, which is shown once and never stored.

    The key id starts with the tenant id, so that the key can be looked up in the tenant's partition. The secret ends
    with a checksum of all before it, so that most wrong keys are refused without a look at storage.
    """
    key_id = f"{tenant_id}-{secrets.token_hex(4)}"
    random = secrets.token_urlsafe(_RANDOM_BYTES)
    secret = random + _checksum(f"{_KEY_PREFIX}_{key_id}_{random}")
    key = GatewayKey(
        tenant_id=tenant_id, key_id=key_id, secret_sha256=secret_digest(secret), created_at=now, expires_at=expires_at
    )
    return key, f"{_KEY_PREFIX}_{key_id}_{secret}"


def parse_gateway_key(credential: str) -> tuple[str, str, str] | None:
    """Split a credential into tenant id, key id and secret. Returns `None` if it does not have that form."""
    prefix, _, rest = credential.partition("_")
    key_id, _, secret = rest.partition("_")
    tenant_id, _, suffix = key_id.rpartition("-")
    if prefix != _KEY_PREFIX or not tenant_id or not suffix or not secret:
        return None
    return tenant_id, key_id, secret


def has_form_of_key(credential: str) -> bool:
    """Tell whether a credential may be a gateway key. Checks its characters, its length and its checksum.

    Keys of older versions have no checksum. They are known by their shorter secret.
    """
    found = _FORM.fullmatch(credential)
    if found is None or len(found[1]) <= _RANDOM_CHARACTERS:
        return found is not None
    return _checksum(credential[:-_CHECKSUM_CHARACTERS]) == credential[-_CHECKSUM_CHARACTERS:]


def _checksum(text: str) -> str:
    """Return the CRC-32 of a text as six digits in base 62, as GitHub's tokens have it.

    Source: https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
    """
    rest, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_CHARACTERS):
        rest, digit = divmod(rest, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits


def secret_digest(secret: str) -> str:
    """Return the SHA-256 of a secret, in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()
