"""Changes of a function at the level of its syntax tree. Each raises `NoSuchPlace` unless it finds its one place.

A pattern is an expression, such as `self.reserved`; it matches the same expression in any layout. A new expression may
hold `_`, which stands for the old one. `of` tells how many places must match, `at` which of them to change; else all.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from textwrap import dedent
from typing import TypeAlias

from tests.proof.mutation.trees import (
    Definition,
    chosen,
    equals,
    exchange,
    filled,
    in_order,
    innermost,
    mentions,
    parsed,
)

Change: TypeAlias = Callable[[Definition], None]

_SIMPLE_STATEMENTS = (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Delete, ast.Raise, ast.Return)
_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE,
}  # fmt: skip


def replaced(pattern: str, new: str, *, of: int = 1, at: int | None = None) -> Change:
    """Put another expression in the place of `pattern` where its value is used."""

    def change(root: Definition) -> None:
        places = chosen(
            (node for node in in_order(root) if equals(node, parsed(pattern))), f"expression {pattern}", of=of, at=at
        )
        exchange(root, places, filled(new))

    return change


def called(name: str, new: str, *, of: int = 1, at: int | None = None) -> Change:
    """Put another expression in the place of the call of a function or method, whatever its arguments."""

    def change(root: Definition) -> None:
        exchange(root, chosen(_calls(root, name), f"call of {name}", of=of, at=at), filled(new))

    return change


def argument(name: str, which: int | str, new: str, *, of: int = 1, at: int | None = None) -> Change:
    """Pass another argument to a call: the one with this index or keyword."""

    def change(root: Definition) -> None:
        calls = chosen(_calls(root, name), f"call of {name}", of=of, at=at)
        passed = [argument for call in calls for argument in _arguments(call, which)]
        exchange(root, chosen(passed, f"argument {which} of {name}", of=len(calls), at=None), filled(new))

    return change


def assigned(target: str, new: str, *, of: int = 1, at: int | None = None) -> Change:
    """Assign another value; for `+=` and `-=` the value on the right."""

    def change(root: Definition) -> None:
        statements = chosen(_assignments(root, target), f"assignment to {target}", of=of, at=at)
        values = [node.value for node in statements if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)]
        exchange(root, [value for value in values if value is not None], filled(new))

    return change


def returns(new: str, *, of: int = 1, at: int | None = None) -> Change:
    """Return another value."""

    def change(root: Definition) -> None:
        values = [node.value for node in in_order(root) if isinstance(node, ast.Return) and node.value is not None]
        exchange(root, chosen(values, "return of a value", of=of, at=at), filled(new))

    return change


def condition(pattern: str, new: bool | str, *, of: int = 1, at: int | None = None) -> Change:
    """Decide otherwise where a condition mentions `pattern`: in `if`, `while`, a ternary or a comprehension."""

    def change(root: Definition) -> None:
        tests = innermost(test for test in _tests(root) if mentions(test, parsed(pattern)))
        exchange(root, chosen(tests, f"condition on {pattern}", of=of, at=at), filled(str(new)))

    return change


def negated(pattern: str, *, of: int = 1, at: int | None = None) -> Change:
    """Decide the opposite where a condition mentions `pattern`."""
    return condition(pattern, "not _", of=of, at=at)


def bound(pattern: str, new: str, *, of: int = 1, at: int | None = None) -> Change:
    """Compare with another right side where a comparison mentions `pattern`."""

    def change(root: Definition) -> None:
        comparisons = chosen(_comparisons(root, pattern), f"comparison of {pattern}", of=of, at=at)
        exchange(root, [node.comparators[-1] for node in comparisons if isinstance(node, ast.Compare)], filled(new))

    return change


def flipped(pattern: str, *, of: int = 1, at: int | None = None) -> Change:
    """Turn `<` to `>` and the reverse where a comparison mentions `pattern`."""

    def change(root: Definition) -> None:
        for node in chosen(_comparisons(root, pattern), f"comparison of {pattern}", of=of, at=at):
            assert isinstance(node, ast.Compare)
            node.ops = [_OPPOSITE[type(operator)]() for operator in node.ops]

    return change


def without_operand(pattern: str, *, of: int = 1, at: int | None = None) -> Change:
    """Drop the operand of `+`, `-`, `|`, `and` or `or` that mentions `pattern`; `0 - x` without 0 is `-x`."""

    def change(root: Definition) -> None:
        operands = {id(operand): parent for parent in in_order(root) for operand in _operands(parent)}
        candidates = (node for node in in_order(root) if id(node) in operands and isinstance(node, ast.expr))
        matching = innermost(node for node in candidates if mentions(node, parsed(pattern)))
        for operand in chosen(matching, f"operand {pattern}", of=of, at=at):
            exchange(root, [operands[id(operand)]], partial(_without, gone=operand))

    return change


def without_statement(pattern: str, *, of: int = 1, at: int | None = None) -> Change:
    """Drop the statement that mentions `pattern`."""

    def change(root: Definition) -> None:
        found = [node for node in _statements(root) if mentions(node, parsed(pattern))]
        exchange(root, chosen(found, f"statement with {pattern}", of=of, at=at), lambda _: ast.Pass())

    return change


def without_call(name: str, *, of: int = 1, at: int | None = None) -> Change:
    """Drop the statement that calls a function or method."""

    def change(root: Definition) -> None:
        found = [node for node in _statements(root) if any(True for _ in _calls(node, name))]
        exchange(root, chosen(found, f"statement that calls {name}", of=of, at=at), lambda _: ast.Pass())

    return change


def without_assignment(target: str, *, of: int = 1, at: int | None = None) -> Change:
    """Drop the assignment to `target`."""

    def change(root: Definition) -> None:
        found = chosen(_assignments(root, target), f"assignment to {target}", of=of, at=at)
        exchange(root, found, lambda _: ast.Pass())

    return change


def body_of(replacement: Callable[..., object]) -> Change:
    """Take parameters and body of another function, which sees the names of the mutated module."""

    def change(root: Definition) -> None:
        (written,) = ast.parse(dedent(inspect.getsource(replacement))).body
        assert isinstance(written, ast.FunctionDef | ast.AsyncFunctionDef)
        assert type(root) is type(written)
        root.args, root.body = written.args, written.body

    return change


def steps(*changes: Change) -> Change:
    """Make several changes, one after the other."""

    def change(root: Definition) -> None:
        for each in changes:
            each(root)

    return change


def _calls(root: ast.AST, name: str) -> Iterator[ast.AST]:
    for node in in_order(root):
        if isinstance(node, ast.Call):
            called = node.func
            if name in (getattr(called, "id", None), getattr(called, "attr", None)):
                yield node


def _arguments(call: ast.AST, which: int | str) -> list[ast.AST]:
    assert isinstance(call, ast.Call)
    if isinstance(which, int):
        return list(call.args[which : which + 1])
    return [keyword.value for keyword in call.keywords if keyword.arg == which]


def _assignments(root: ast.AST, target: str) -> Iterator[ast.AST]:
    wanted = ast.unparse(parsed(target))
    for node in in_order(root):
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            targets = [node.target]
        else:
            continue
        if any(ast.unparse(each) == wanted for each in targets):
            yield node


def _comparisons(root: ast.AST, pattern: str) -> list[ast.expr]:
    return innermost(
        node for node in in_order(root) if isinstance(node, ast.Compare) and mentions(node, parsed(pattern))
    )


def _operands(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.BoolOp):
        return node.values
    return [node.left, node.right] if isinstance(node, ast.BinOp) else []


def _without(node: ast.AST, gone: ast.AST) -> ast.AST:
    """Return what is left of an operation without one of its operands."""
    left = [operand for operand in _operands(node) if operand is not gone]
    if isinstance(node, ast.BoolOp) and len(left) > 1:
        return ast.BoolOp(node.op, left)
    (only,) = left
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and gone is node.left:
        return ast.UnaryOp(ast.USub(), only)
    return only


def _statements(root: ast.AST) -> Iterator[ast.AST]:
    return (node for node in in_order(root) if isinstance(node, _SIMPLE_STATEMENTS))


def _tests(root: ast.AST) -> Iterator[ast.expr]:
    for node in in_order(root):
        if isinstance(node, ast.If | ast.While | ast.IfExp):
            yield node.test
        elif isinstance(node, ast.comprehension):
            yield from node.ifs
