"""Checks values against the types of Bicep: those of parameters and outputs, with their decorators."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tree_sitter import Node

from tests.tools.bicep import BicepFile, BicepSources, Declaration, literal, named, text_of


class TypeProblem(Exception):
    """A value has another type than was declared."""


Decorators = Mapping[str, tuple[Node, ...]]
_PRIMITIVES: Mapping[str, type] = {"string": str, "int": int, "bool": bool, "object": dict, "array": list}
_BROKEN: Mapping[str, Callable[[Any, Node], bool]] = {
    "allowed": lambda value, values: value not in [_constant(each) for each in named(values)],
    "minValue": lambda value, least: value < _constant(least),
    "maxValue": lambda value, most: value > _constant(most),
    "minLength": lambda value, least: len(value) < _constant(least),
    "maxLength": lambda value, most: len(value) > _constant(most),
}
"""Tells whether a value breaks a decorator, by its name."""


def check_type(sources: BicepSources, file: BicepFile, declared: Declaration, value: Any, what: str) -> None:
    """Raise `TypeProblem` if a value does not fit a declaration."""
    if declared.type_node is not None:
        _Checker(sources, file).check(declared.type_node, value, what)
    _check_decorators(declared.decorators, value, what)


@dataclass(frozen=True, slots=True)
class _Checker:
    """Checks values against the types that a file knows."""

    sources: BicepSources
    file: BicepFile

    def check(self, node: Node, value: Any, what: str) -> None:
        checks: Mapping[str, Callable[[Node, Any, str], None]] = {
            "type": self._inner,
            "parenthesized_expression": self._inner,
            "parenthesized_type": self._inner,
            "nullable_type": self._nullable,
            "primitive_type": _check_primitive,
            "array_type": self._array,
            "union_type": _check_union,
            "binary_expression": _check_union,
            "identifier": self._named,
            "object": self._object,
        }
        if node.type not in checks:
            raise TypeProblem(f"{what} has a type that is not understood: {node.type}")
        checks[node.type](node, value, what)

    def _inner(self, node: Node, value: Any, what: str) -> None:
        self.check(named(node)[0], value, what)

    def _nullable(self, node: Node, value: Any, what: str) -> None:
        if value is not None:
            self._inner(node, value, what)

    def _array(self, node: Node, value: Any, what: str) -> None:
        _require("array", value, what)
        for index, item in enumerate(value):
            self._inner(node, item, f"{what}[{index}]")

    def _named(self, node: Node, value: Any, what: str) -> None:
        name = text_of(node)
        owner = self.sources.file(self.file.imports[name]) if name in self.file.imports else self.file
        body = owner.types[name].body if name in owner.types else None
        if body is None:
            raise TypeProblem(f"{what} has the unknown type {name}")
        _Checker(self.sources, owner).check(body, value, what)

    def _object(self, node: Node, value: Any, what: str) -> None:
        _require("object", value, what)
        known, further = _members(node)
        for key, (type_node, decorators) in known.items():
            if value.get(key) is None and text_of(type_node).endswith("?"):
                continue
            if key not in value:
                raise TypeProblem(f"{what} has no {key}")
            self.check(type_node, value[key], f"{what}.{key}")
            _check_decorators(decorators, value[key], f"{what}.{key}")
        for key in value.keys() - known.keys():
            if further is None:
                raise TypeProblem(f"{what} must not have {key}")
            self.check(further, value[key], f"{what}.{key}")


def _members(node: Node) -> tuple[dict[str, tuple[Node, Decorators]], Node | None]:
    """Return the members of an object type with their decorators, and the type of further ones."""
    known: dict[str, tuple[Node, Decorators]] = {}
    further, decorators = None, {}
    for item in named(node):
        if item.type == "decorators":
            calls = [named(each)[0] for each in named(item)]
            decorators = {text_of(named(call)[0]): tuple(named(named(call)[1])) for call in calls}
        elif text_of(item).startswith("*"):
            further = named(item)[-1]
        else:
            known[text_of(named(item)[0])], decorators = (named(item)[-1], decorators), {}
    return known, further


def _check_primitive(node: Node, value: Any, what: str) -> None:
    _require(text_of(node), value, what)


def _require(name: str, value: Any, what: str) -> None:
    is_flag = isinstance(value, bool)
    if not isinstance(value, _PRIMITIVES[name]) or (is_flag and name != "bool"):
        raise TypeProblem(f"{what} must be {name}, is {value!r}")


def _check_union(node: Node, value: Any, what: str) -> None:
    """The grammar nests unions, and takes those in parentheses as operations."""
    allowed = set(re.findall(r"'([^']*)'", text_of(node)))
    is_nullable = text_of(node).endswith("?")
    if value not in allowed and not (value is None and is_nullable):
        raise TypeProblem(f"{what} must be one of {sorted(allowed)}, is {value!r}")


def _check_decorators(decorators: Decorators, value: Any, what: str) -> None:
    for name, arguments in decorators.items():
        if value is not None and name in _BROKEN and _BROKEN[name](value, arguments[0]):
            raise TypeProblem(f"{what} breaks @{name}({', '.join(map(text_of, arguments))}): {value!r}")


def _constant(node: Node) -> Any:
    return literal(node) if node.type == "string" else int(text_of(node))
