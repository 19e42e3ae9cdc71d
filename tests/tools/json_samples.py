"""JSON values for a schema: at its bounds, beyond them, and of every other type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

ANYTHING: Final[tuple[Any, ...]] = (
    None, True, False, -1, 0, 1, 2, 1.5, 10**19, "", " ", "x", "1.50", "null", "\u0000", "株",
    [], [None], ["x"], [["x"]], {}, {"x": None}, {"x": "y"}, {"x": ["y"]}, {"x": []},
)  # fmt: skip


def samples(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[Any]:
    """Yield values at the bounds that a schema states, and just beyond them."""
    if "$ref" in schema:
        yield from samples(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for alternative in schema.get("anyOf", ()):
        yield from samples(alternative, definitions)
    yield from schema.get("enum", ())
    if "minimum" in schema:
        yield from (schema["minimum"] - 1, schema["minimum"], schema["maximum"], schema["maximum"] + 1)
    if "maxLength" in schema:
        yield from ("x" * schema["maxLength"], "x" * (schema["maxLength"] + 1))
    if "items" in schema:
        yield from ([each] for each in samples(schema["items"], definitions))
    yield from _objects(schema, definitions)


def _objects(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[Any]:
    for name, named in schema.get("properties", {}).items():
        yield from ({name: each} for each in (*samples(named, definitions), *ANYTHING))
    for others in (schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()):
        if others:
            yield from ({"x": each} for each in samples(others, definitions))
