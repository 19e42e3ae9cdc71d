"""The examples in docs/reference/formats.md are what the product writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from shared.domain.audit.hash_chain import ChainVerifier, Link, Sealed, canonical, genesis
from shared.domain.stored_fields import Fields

TEXT: Final = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "formats.md").read_text()
KEYS: Final = {"0": b"the first chain key of an example", "1": b"the second chain key of an example"}


def example(name: str) -> list[Fields]:
    """Return the JSON lines of an example."""
    match = re.search(rf"<!-- example: {name} -->\n\n```json\n(.*?)```", TEXT, re.DOTALL)
    assert match is not None
    return [json.loads(line) for line in match[1].splitlines()]


def test_the_example_of_a_lane_verifies() -> None:
    head = genesis("2026-11", "acme|00")
    assert [head in TEXT, *(key.decode() in TEXT for key in KEYS.values())] == [True, True, True]
    links = []
    for entry in example("lane"):
        links.append(ChainVerifier(KEYS).check(head, Sealed.from_fields(entry)))
        head = str(entry["hash"])
    assert links == [
        Link(method="hmac", key_version="0"),
        Link(method="sha256", key_version="0"),
        Link(method="sha256", key_version="1"),
    ]


def test_the_escapes_of_canonical_json_are_as_documented() -> None:
    text = '"\\/\b\t\n\f\r\x01\x1f\x7f\u2028ü'
    assert canonical({"a": text, "Z": -1, "b": True}).decode() == (
        '{"Z":-1,"a":"\\"\\\\/\\b\\t\\n\\f\\r\\u0001\\u001f\x7f\u2028ü","b":true}'
    )
