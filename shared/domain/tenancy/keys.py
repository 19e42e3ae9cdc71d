"""Gateway keys: the credentials of tenants."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Callable
from dataclasses import field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from shared.domain.identifiers import TENANT_ID
from shared.domain.values import record

_KEY_PREFIX: Final = "tg"
_FORM: Final = re.compile(f"{_KEY_PREFIX}_{TENANT_ID.pattern}-[0-9a-f]{{8}}_([A-Za-z0-9_-]{{1,49}})")
_RANDOM_BYTES: Final = 32
_RANDOM_CHARACTERS: Final = 43
_CHECKSUM_CHARACTERS: Final = 6
_INHERITED: Final = ("label", "owner", "scope", "deployments", "address_ranges")
_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase


class KeyScope(StrEnum):
    """The operations that a key permits."""

    USE = "use"
    """Inference, and the tenant's own usage."""
    USAGE_READ = "usage.read"
    """The tenant's own usage only."""


class KeyState(StrEnum):
    """The state of a key. Only an active one is accepted."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@record
class GatewayKey:
    """A credential of a tenant. Only a SHA-256 of its secret is stored; 256 random bits need no slow hash."""

    tenant_id: str
    key_id: str
    secret_sha256: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    label: str = ""
    owner: str = ""
    """The person or team that answers for the key."""
    created_by: str = ""
    """The actor who created it; empty for keys of earlier versions."""
    scope: KeyScope = KeyScope.USE
    deployments: tuple[str, ...] | None = None
    """The deployments of the tenant that this key may call; `None` for all."""
    address_ranges: tuple[str, ...] = ()
    """The addresses from which it is accepted; empty for all."""
    replaces: str = ""
    """The id of the key that was rotated into this one."""
    replaced_by: str = ""
    """The id of the key into which this one was rotated."""

    def has_secret(self, secret: str) -> bool:
        """Tell whether `secret` is this key's. Compares in constant time."""
        return hmac.compare_digest(secret_digest(secret), self.secret_sha256)

    def is_in_force(self, now: Callable[[], datetime]) -> bool:
        """Tell whether this key is accepted. Calls `now` only for a key that expires."""
        return self.revoked_at is None and (self.expires_at is None or now() < self.expires_at)

    def state(self, now: datetime) -> KeyState:
        """Return the state at a time."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        return KeyState.ACTIVE if self.is_in_force(lambda: now) else KeyState.EXPIRED

    def covers(self, deployment: str) -> bool:
        """Tell whether this key may call a deployment, if its tenant may."""
        return self.deployments is None or deployment in self.deployments

    def ended_at(self, now: datetime) -> datetime | None:
        """Return the time at which this key ended; `None` if it is in force."""
        return None if self.is_in_force(lambda: now) else min(filter(None, (self.revoked_at, self.expires_at)))


def successor_of(old: GatewayKey, now: datetime, expires_at: datetime | None) -> tuple[GatewayKey, str]:
    """Make the key into which `old` is rotated, with the same settings, and its credential."""
    new, credential = new_gateway_key(old.tenant_id, now, expires_at)
    inherited = {name: getattr(old, name) for name in _INHERITED}
    return replace(new, replaces=old.key_id, **inherited), credential


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
