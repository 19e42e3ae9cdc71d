"""No value object with more than three fields can be built by position."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import shared

ROOT = Path(__file__).resolve().parents[2]
MOST_BY_POSITION = 3


def classes() -> Iterator[type]:
    """Every class of the product."""
    for module in pkgutil.walk_packages(shared.__path__, "shared."):
        for kind in vars(importlib.import_module(module.name)).values():
            if isinstance(kind, type) and kind.__module__ == module.name:
                yield kind


def takes_many_by_position(kind: type) -> bool:
    """Return true for a dataclass with more than three fields that takes some of its own by position.

    A dataclass with `eq=False` is an object with an identity, not a value.
    """
    if not dataclasses.is_dataclass(kind) or kind.__eq__ is object.__eq__:
        return False
    given = [field for field in dataclasses.fields(kind) if field.init]
    own = vars(kind).get("__annotations__", {})
    by_position = [field for field in given if field.name in own and not field.kw_only]
    return len(given) > MOST_BY_POSITION and bool(by_position)


def test_a_dataclass_with_more_than_three_fields_takes_them_by_keyword() -> None:
    assert [kind for kind in classes() if takes_many_by_position(kind)] == []


def tuples_and_structs() -> dict[str, int]:
    """Return the number of fields of each other class that can be built by position."""
    counts = {}
    for kind in classes():
        if dataclasses.is_dataclass(kind):
            continue
        if issubclass(kind, msgspec.Struct):
            counts[kind.__name__] = len(kind.__struct_fields__)
        elif issubclass(kind, tuple):
            counts[kind.__name__] = len(getattr(kind, "_fields", ()))
    return {name: count for name, count in counts.items() if count > MOST_BY_POSITION}


def calls_by_position(tree: ast.Module, names: set[str]) -> list[int]:
    """Return the lines that build one of these classes by position, also under a name for it.

    Such a name is `cached` in `cached = lru_cache(cls)`.
    """
    named = {*names}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(value=ast.Call(args=arguments)) if names & set(map(ast.unparse, arguments)):
                named.update(map(ast.unparse, node.targets))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if ast.unparse(call.func).rpartition(".")[2] in named
        and (len(call.args) > MOST_BY_POSITION or any(isinstance(each, ast.Starred) for each in call.args))
    ]


@pytest.mark.parametrize("folder", ["shared", "local", "bench", "tests"])
def test_no_tuple_with_more_than_three_fields_is_built_by_position(folder: str) -> None:
    names = tuples_and_structs()
    assert "PriceKey" in names
    files = [(path, ast.parse(path.read_text())) for path in (ROOT / folder).rglob("*.py")]
    assert [(path, lines) for path, tree in files if (lines := calls_by_position(tree, {*names}))] == []


@pytest.mark.parametrize(
    "source",
    [
        "PriceKey('m', '1', 'Standard', 'eu')",
        "price_book.PriceKey(*facts)",
        "cached = lru_cache(maxsize=8)(PriceKey)\ncached('m', '1', 'Standard', 'eu')",
    ],
)
def test_a_call_by_position_is_found(source: str) -> None:
    assert calls_by_position(ast.parse(source), {"PriceKey"})
