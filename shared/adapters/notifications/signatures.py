"""Signatures of webhooks: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from shared.application.ports.secrets import SecretVersion

OVERLAP: Final = timedelta(hours=24)
"""The time for which requests are also signed by the version that a new one has replaced."""
_MOST: Final = 3
_PREFIX: Final = "whsec_"
_LENGTHS: Final = range(24, 65)


def signing_keys(versions: Sequence[SecretVersion], now: datetime) -> list[bytes]:
    """Return the keys of versions, oldest first, that sign now: newest first, at most three.

    Raises `ValueError` for a value that is not base64 of 24 to 64 bytes, with or without `whsec_`.
    """
    followers = [*(each.created_at for each in versions[1:]), None]
    used = [
        version
        for version, follower in zip(versions, followers, strict=True)
        if follower is None or now - follower < OVERLAP
    ]
    return [signing_key(each.value) for each in reversed(used)][:_MOST]


def signing_key(secret: str) -> bytes:
    """Return the key in a secret. Raises `ValueError`, whose text does not quote it."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        raise ValueError("is not base64") from None
    if len(key) not in _LENGTHS:
        raise ValueError("must have 24 to 64 bytes")
    return key


def signed_headers(event_id: str, body: bytes, keys: Sequence[bytes], now: datetime) -> dict[str, str]:
    """Return the headers of a request: the id of the event, the time of this try, and a signature by each key."""
    name, seconds = webhook_id(event_id), int(now.timestamp())
    content = f"{name}.{seconds}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": name,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }


def webhook_id(event_id: str) -> str:
    """Return the id of an event as a header has it: ASCII without dots, which separate what is signed."""
    return quote(event_id, safe=":").replace(".", "%2E").replace("%", "=")
