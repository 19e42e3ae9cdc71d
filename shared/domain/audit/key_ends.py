"""The ends of chain keys: what a version signed after its end was signed by somebody who has stolen it."""

from __future__ import annotations

import json
from collections.abc import Mapping


class KeyEnds:
    """Checks the entries of one month of the audit log, in their order.

    Whoever has stolen a key also writes the times of entries. So the latest time so far counts.
    """

    def __init__(self, ends: Mapping[str, str]) -> None:
        """`ends` has the timestamps from which versions of the chain key must not sign any more."""
        self._ends = ends
        self._latest = ""

    def fault(self, key_version: str, event: str) -> str:
        """Tell that the key version of the next entry had ended; empty if not. `event` is the text of its event."""
        if not self._ends:
            return ""
        self._latest = max(self._latest, _time_of(event))
        end = self._ends.get(key_version, "")
        return f"was signed by key version {key_version} after {end}, its end" if end and self._latest >= end else ""


def _time_of(event: str) -> str:
    """Return the time that an event states; empty if it cannot be read, of which there is another finding."""
    try:
        return str(json.loads(event)["at"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
