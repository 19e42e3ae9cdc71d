"""The port to secrets, each known by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from datetime import datetime
from typing import Protocol

from shared.domain.values import record


@record
class SecretVersion:
    """One version of a secret. It is shown without its value."""

    version: str
    created_at: datetime
    value: str = field(repr=False)


class Secrets(Protocol):
    """Reads secrets. Values are held for a limited time, so that a rotation needs no restart.

    All methods raise `SecretUnavailable`, which names the secret and never shows a value.
    """

    def held(self, name: str) -> str | None:
        """Return the newest value of a secret if it is at hand and young; `None` if `get` must be awaited."""
        ...

    async def get(self, name: str) -> str:
        """Return the newest value of a secret. Makes no request while it is held."""
        ...

    async def accepted(self, name: str) -> Sequence[str]:
        """Return the values that prove an identity now: the newest, then the one before it while the two overlap."""
        ...

    async def versions(self, name: str) -> Sequence[SecretVersion]:
        """Return all versions that are enabled, oldest first."""
        ...

    async def refused(self, name: str, value: str) -> str | None:
        """Return another value to try, because `value` was refused; `None` if there is none.

        Reads the secret anew if `value` is the newest that is known, but rarely, so that nobody can flood its source.
        """
        ...
