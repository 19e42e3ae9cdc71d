"""Find out on whose behalf a call is made. Entries and reports name this user."""

from __future__ import annotations

import re
from typing import Final

from shared.application.tenancy.principals import TenantPrincipal
from shared.domain.tenancy.pseudonyms import MAX_USER_CHARACTERS

_OBJECT_ID: Final = re.compile(r"\s*[{(]?[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}[)}]?\s*", re.IGNORECASE)


def stated_user(caller: TenantPrincipal, header: str, body: str) -> str:
    """Return the person who signed in, else the user that `header` or `body` states; an empty text if there is none.

    - The header counts where the tenant trusts its callers, then the body.
    - A text with the form of an object id could name a person who never signed in. It counts only from a key, and only
      where the tenant trusts its callers.
    """
    if caller.user:
        return caller.user
    is_trusted = caller.tenant.trust_user_header
    stated = (header if is_trusted else "") or body[:MAX_USER_CHARACTERS]
    if (caller.key is None or not is_trusted) and _OBJECT_ID.fullmatch(stated):
        stated = ""
    return stated
