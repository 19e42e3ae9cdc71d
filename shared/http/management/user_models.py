"""Bodies of the routes of a tenant's users."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, StrictStr

from shared.definitions import Model
from shared.http.management.models import Reason

_MAX_CHARACTERS: Final = 4_096
"""Longer than an id that is stored, because callers may send longer ones, which are cut."""


class NamedUser(Model):
    """A user, as callers name it: the `oid` of a token, `x-gateway-user`, or the body's `user`."""

    user: Annotated[StrictStr, Field(min_length=1, max_length=_MAX_CHARACTERS)]


class UserErasure(NamedUser):
    """A user to erase. The reason is stored in the audit log, so it must not name the person."""

    reason: Reason
