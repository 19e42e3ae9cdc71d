"""Evaluate variables of a Bicep file for given parameters: literals, operators, loops, lambdas, and a few functions.

What it does not know raises `KeyError` or `NotImplementedError`, so that no test passes by accident.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tree_sitter
import tree_sitter_bicep

_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))
Scope = Mapping[str, Any]


def union(*lists: list[Any]) -> list[Any]:
    return list(dict.fromkeys(item for each in lists for item in each))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "concat": lambda *lists: [item for each in lists for item in each],
    "contains": lambda whole, part: part in whole,
    "empty": lambda value: not value,
    "filter": lambda items, keep: [item for item in items if keep(item)],
    "flatten": lambda lists: [item for each in lists for item in each],
    "map": lambda items, change: [change(item) for item in items],
    "toLower": str.lower,
    "trim": str.strip,
    "union": union,
}


class BicepValues:
    """The parameters and variables of one file."""

    def __init__(self, path: Path, **parameters: Any) -> None:
        self.path = path
        root = _PARSER.parse(path.read_bytes()).root_node
        self.parameters = _declared(root, "parameter_declaration")
        self._variables = _declared(root, "variable_declaration")
        unknown = parameters.keys() - self.parameters.keys()
        assert not unknown, f"{path} has no parameters {unknown}"
        self._given = parameters

    def __getitem__(self, name: str) -> Any:
        if name in self._given:
            return self._given[name]
        nodes = {**self.parameters, **self._variables}
        return self._value(nodes[name].named_children[-1], {})

    def names(self, kind: str) -> list[str]:
        return list(self.parameters if kind == "parameter" else self._variables)

    def _value(self, node: tree_sitter.Node, scope: Scope) -> Any:
        children = [child for child in node.named_children if "comment" not in child.type]
        match node.type:
            case "identifier":
                name = _text(node)
                return scope[name] if name in scope else self[name]
            case "string":
                return "".join(self._part(child, scope) for child in children)
            case "array":
                return [self._value(child, scope) for child in children]
            case "object":
                return {self._key(child.named_children[0], scope): self._last(child, scope) for child in children}
            case "boolean":
                return _text(node) == "true"
            case "number":
                return int(_text(node))
            case _:
                return self._computed(node, children, scope)

    def _computed(self, node: tree_sitter.Node, children: list[tree_sitter.Node], scope: Scope) -> Any:
        match node.type:
            case "ternary_expression":
                return self._value(children[1 if self._value(children[0], scope) else 2], scope)
            case "unary_expression":
                assert node.children[0].type == "!", _text(node)
                return not self._value(children[0], scope)
            case "binary_expression":
                return self._compared(node.children[1].type, children, scope)
            case "member_expression":
                return self._value(children[0], scope)[_text(children[1])]
            case "subscript_expression":
                return self._value(children[0], scope)[self._value(children[1], scope)]
            case "call_expression":
                return self._called(_text(children[0]), children[1].named_children, scope)
            case _:
                return self._repeated(node, children, scope)

    def _repeated(self, node: tree_sitter.Node, children: list[tree_sitter.Node], scope: Scope) -> Any:
        name, body = _text(children[0]), children[-1]
        match node.type:
            case "for_statement":
                return [self._value(body, {**scope, name: item}) for item in self._value(children[1], scope)]
            case "lambda_expression":
                return lambda item: self._value(body, {**scope, name: item})
            case _:
                raise NotImplementedError(f"{node.type}: {_text(node)}")

    def _last(self, node: tree_sitter.Node, scope: Scope) -> Any:
        return self._value(node.named_children[-1], scope)

    def _called(self, name: str, arguments: list[tree_sitter.Node], scope: Scope) -> Any:
        values = [self._value(argument, scope) for argument in arguments]
        if name == "loadJsonContent":
            return json.loads((self.path.parent / values[0]).read_text())
        if name == "loadTextContent":
            return (self.path.parent / values[0]).read_text()
        return FUNCTIONS[name](*values)

    def _compared(self, operator: str, children: list[tree_sitter.Node], scope: Scope) -> bool:
        left, right = children
        match operator:
            case "&&":
                return bool(self._value(left, scope) and self._value(right, scope))
            case "||":
                return bool(self._value(left, scope) or self._value(right, scope))
            case "==":
                return bool(self._value(left, scope) == self._value(right, scope))
            case _:
                raise NotImplementedError(operator)

    def _key(self, node: tree_sitter.Node, scope: Scope) -> str:
        return str(self._value(node, scope)) if node.type == "string" else _text(node)

    def _part(self, node: tree_sitter.Node, scope: Scope) -> str:
        match node.type:
            case "string_content":
                return _text(node)
            case "escape_sequence":
                return _text(node)[1:]
            case "interpolation":
                return str(self._value(node.named_children[0], scope))
            case _:
                raise NotImplementedError(node.type)


def _declared(root: tree_sitter.Node, kind: str) -> dict[str, tree_sitter.Node]:
    return {_text(node.named_children[0]): node for node in root.named_children if node.type == kind}


def _text(node: tree_sitter.Node) -> str:
    assert node.text is not None
    return node.text.decode()
