"""Find and replace nodes of a syntax tree, whatever the layout of its source."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import TypeAlias

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
"""The function, method or class that a mutant changes."""
PLACEHOLDER = "_"
"""Stands for the old expression in a new one."""


class NoSuchPlace(Exception):
    """The code does not have the place that a mutant changes, or has several."""


def parsed(expression: str) -> ast.expr:
    """Return the syntax tree of an expression."""
    return ast.parse(expression, mode="eval").body


def equals(node: ast.AST, pattern: ast.AST) -> bool:
    """Tell whether two trees are the same but for their positions."""
    return type(node) is type(pattern) and ast.dump(node) == ast.dump(pattern)


def mentions(node: ast.AST, pattern: ast.AST) -> bool:
    """Tell whether `pattern` is part of a tree."""
    return any(equals(part, pattern) for part in ast.walk(node))


def in_order(root: ast.AST) -> Iterator[ast.AST]:
    """Yield every node below `root` in the order of the source."""
    for child in ast.iter_child_nodes(root):
        yield child
        yield from in_order(child)


def innermost(nodes: Iterable[ast.expr]) -> list[ast.expr]:
    """Return those of the nodes that contain no other of them."""
    found = list(nodes)
    identities = {id(node) for node in found}
    return [node for node in found if not any(id(part) in identities for part in in_order(node))]


def chosen(nodes: Iterable[ast.AST], sought: str, *, of: int, at: int | None) -> list[ast.AST]:
    """Return all `of` nodes, or only the one `at` that position, counted from 1.

    Raises `NoSuchPlace` unless there are exactly `of`.
    """
    found = list(nodes)
    if len(found) != of:
        raise NoSuchPlace(f"{sought}: found in {len(found)} places, not in {of}")
    return found if at is None else [found[at - 1]]


def exchange(root: ast.AST, nodes: Iterable[ast.AST], new: Callable[[ast.AST], ast.AST]) -> None:
    """Replace each of the nodes below `root` by what `new` makes of it."""
    _Exchange({id(node) for node in nodes}, new).generic_visit(root)
    ast.fix_missing_locations(root)


def filled(template: str) -> Callable[[ast.AST], ast.AST]:
    """Return a function that puts an old expression in the place of each placeholder of `template`."""

    def fill(old: ast.AST) -> ast.AST:
        wrapped = ast.Expr(parsed(template))
        placeholders = [part for part in ast.walk(wrapped) if equals(part, parsed(PLACEHOLDER))]
        exchange(wrapped, placeholders, lambda _: deepcopy(old))
        return wrapped.value

    return fill


class _Exchange(ast.NodeTransformer):
    def __init__(self, identities: set[int], new: Callable[[ast.AST], ast.AST]) -> None:
        self._identities = identities
        self._new = new

    def visit(self, node: ast.AST) -> ast.AST:
        if id(node) in self._identities:
            return ast.copy_location(self._new(node), node)
        return self.generic_visit(node)
