"""Read a JSON object that two conforming readers cannot read differently."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def strict_object(encoded: bytes) -> dict[str, Any]:
    """Return the members of a JSON object in UTF-8.

    Raises `ValueError` for anything else, for a name that occurs twice in one object, and for `NaN` and `Infinity`.
    """
    try:
        read = json.loads(encoded.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("The JSON is nested too deeply.") from None
    if not isinstance(read, dict):
        raise ValueError("The JSON is no object.")
    return read


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("A name occurs twice.")
    return found


def _refuse(_: str) -> NoReturn:
    raise ValueError("A number is not finite.")
