"""Counting the elements of a JSON text without decoding it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.inference.structure import StructureCount

VALUES = st.recursive(
    st.none() | st.integers() | st.text('a"\\{[:,é', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('k"\\:,', max_size=4), inner, max_size=4),
    max_leaves=20,
)


def elements(value: Any) -> tuple[int, int]:
    """Count objects, arrays and members, and the values that follow another one."""
    if not isinstance(value, dict | list):
        return 0, 0
    inner = [elements(each) for each in (value.values() if isinstance(value, dict) else value)]
    members = len(value) if isinstance(value, dict) else 0
    return 1 + members + sum(each for each, _ in inner), max(0, len(value) - 1) + sum(each for _, each in inner)


@given(VALUES, st.integers(1, 7), st.booleans())
def test_elements_are_counted_whatever_stands_in_strings_and_wherever_parts_end(
    value: Any, part: int, is_ascii: bool
) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii).encode()
    count = StructureCount()
    for start in range(0, len(text), part):
        count.feed(text[start : start + part])
    assert (count.elements, count.values) == elements(value)
