"""Find out on whose behalf a call is made. Entries and reports name this user."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from shared.application.tenancy.principals import TenantPrincipal
from shared.domain.tenancy.pseudonyms import MAX_USER_CHARACTERS, canonical_user

_OBJECT_ID: Final = re.compile("[0-9a-f]{32}", re.IGNORECASE)
_DIGITS: Final = 32
_OTHER_CHARACTERS: Final = re.compile("[^0-9A-Za-z]+")


def stated_user(caller: TenantPrincipal, header: str, body: str) -> str:
    """Return the person who signed in, else the user that `header` or `body` states; an empty text if there is none.

    - The header counts where the tenant trusts its callers, then the body.
    - A text that looks like an object id could name a person who never signed in. It counts only from a key, and only
      where the tenant trusts its callers.
    """
    if caller.user:
        return caller.user
    is_trusted = caller.tenant.trust_user_header
    stated = (header if is_trusted else "") or body[:MAX_USER_CHARACTERS]
    if (caller.key is None or not is_trusted) and _looks_like_object_id(stated):
        stated = ""
    return stated


def _looks_like_object_id(text: str) -> bool:
    """Tell whether a reader may take a text for an object id, whatever stands between its digits or is not seen."""
    if len(text) < _DIGITS:
        return False
    compatible = unicodedata.normalize("NFKC", canonical_user(text))
    return _OBJECT_ID.fullmatch(_OTHER_CHARACTERS.sub("", compatible)) is not None
