"""Pseudonyms of a tenant's users, and keyed hashes of its prompts.

Both have a key of the tenant's own, which is derived from the gateway's privacy key.
"""

from __future__ import annotations

import hmac
import secrets
import unicodedata
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from typing import Final

from shared.domain.values import value

MAX_USER_CHARACTERS: Final = 256
"""Longer ids of users are cut."""
MAX_NEW_PER_DAY: Final = 10_000
"""The most aliases that a tenant gets in a day. Users beyond it share one, so that nobody can flood the table."""
SHARED_ALIAS: Final = "u-others"
_ALIAS_BYTES: Final = 12
_USERS: Final = b"tallygate/users/"
_PROMPTS: Final = b"tallygate/prompts/"
_KEY_ID: Final = b"tallygate/key-id"
_KEY_ID_DIGITS: Final = 8


@value
class PseudonymState:
    """The facts about a tenant's aliases that its rows cannot tell."""

    day: str = ""
    """The day (UTC, `YYYY-MM-DD`) that `created` counts."""
    created: int = 0
    """The aliases that were made on that day."""
    erasures: int = 0
    """Ascends with each erasure, so that processes notice that an alias may be gone."""

    def is_full(self, day: str) -> bool:
        """Tell whether no further alias may be made on this day."""
        return self.day == day and self.created >= MAX_NEW_PER_DAY

    def with_new(self, day: str) -> PseudonymState:
        """Return the state after one more alias was made."""
        return PseudonymState(day, self.created + 1 if self.day == day else 1, self.erasures)

    def with_erasure(self) -> PseudonymState:
        """Return the state after an erasure."""
        return PseudonymState(self.day, self.created, self.erasures + 1)


def new_alias() -> str:
    """Return a new random alias, from which nothing about its user follows."""
    return f"u-{secrets.token_hex(_ALIAS_BYTES)}"


def user_key(privacy_key: bytes, tenant_id: str, user: str) -> str:
    """Return the key of a user's row: an HMAC-SHA256 in hexadecimal, by a key of this tenant."""
    return hmac.digest(_derived(privacy_key, _USERS, tenant_id), canonical_user(user).encode(), sha256).hex()


def prompt_hmac(privacy_key: bytes, tenant_id: str, prompt: bytes) -> str:
    """Return `{key id}.{HMAC-SHA256 in hexadecimal}` of a canonical prompt, by a key of this tenant."""
    digest = hmac.digest(_derived(privacy_key, _PROMPTS, tenant_id), prompt, sha256).hex()
    return f"{_key_id(privacy_key)}.{digest}"


def canonical_user(user: str) -> str:
    """Return the form by which a user is known, so that one person gets one alias.

    Headers are read as ISO 8859-1, and clients send UTF-8 in them. Composed and decomposed characters are alike (NFC).
    """
    with suppress(UnicodeError):  # it was no UTF-8 in a header
        user = user.encode("latin-1").decode()
    return unicodedata.normalize("NFC", user[:MAX_USER_CHARACTERS])


@lru_cache(maxsize=1024)
def _derived(privacy_key: bytes, label: bytes, tenant_id: str) -> bytes:
    return hmac.digest(privacy_key, label + tenant_id.encode(), sha256)


@lru_cache(maxsize=16)
def _key_id(privacy_key: bytes) -> str:
    """Return a name for a version of the privacy key, so that entries of two versions are not compared."""
    return hmac.digest(privacy_key, _KEY_ID, sha256).hex()[:_KEY_ID_DIGITS]
