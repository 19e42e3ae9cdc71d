"""Bound the number of elements of a JSON body before it is decoded, because decoding holds the interpreter."""

from __future__ import annotations

import asyncio
from typing import Final

from shared.domain.errors import InvalidRequest
from shared.domain.inference.structure import StructureBounds, StructureCount, add_marks

_PART_BYTES: Final = 65_536


async def check_structure(body: bytes, bounds: StructureBounds) -> None:
    """Count the elements of a large body in parts, between which others are served.

    Raises `InvalidRequest` if there are too many. Only a body that may have too many is read exactly.
    """
    if not await _may_exceed(body, bounds):
        return
    count = StructureCount()
    for start in range(0, len(body), _PART_BYTES):
        count.feed(body[start : start + _PART_BYTES])
        if count.exceeds(bounds):
            raise InvalidRequest(
                f"The body has too many elements: at most {bounds.elements} objects, arrays and members and "
                f"{bounds.values} values are allowed."
            )
        await asyncio.sleep(0)


async def _may_exceed(body: bytes, bounds: StructureBounds) -> bool:
    elements = values = 0
    for start in range(0, len(body), 4 * _PART_BYTES):
        elements, values = add_marks(body, start, start + 4 * _PART_BYTES, elements, values)
        if elements > bounds.elements or values > bounds.values:
            return True
        await asyncio.sleep(0)
    return False
