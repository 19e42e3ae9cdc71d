"""The lines of an evidence package about audit events and documents, as JSON objects."""

from __future__ import annotations

import json
from typing import Any, Final

PRICES: Final = "prices"
"""The table whose documents are in a package with their texts."""
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def object_of(line: bytes) -> dict[str, Any]:
    """Return the object of a line; an empty one if it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def canonical_object_of(line: bytes) -> tuple[dict[str, Any], bool]:
    """Return the object of a line, and whether the line is its canonical form."""
    row = object_of(line)
    encoded = _encode(row).encode(errors="replace")
    return (row, True) if encoded == line else (object_of(encoded), False)  # halves of surrogate pairs have no bytes
