"""The operators of tests/proof/mutation/ change one place, and say so if there is none or more."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest

from tests.proof.mutation.mutant import Mutant
from tests.proof.mutation.operators import (
    Change,
    argument,
    assigned,
    body_of,
    bound,
    called,
    condition,
    flipped,
    negated,
    replaced,
    returns,
    steps,
    without_assignment,
    without_call,
    without_operand,
    without_statement,
)
from tests.proof.mutation.trees import NoSuchPlace

SOURCE = """
class Lane:
    def admit(self, amount: int) -> int:
        held = self.used + self.reserved - amount
        self.seen += 1
        if self.is_open and held > self.limit and amount:
            self.log(held, why="limit")
        return [each for each in self.all if each.until < 7]
"""


def mutant(change: Change) -> Mutant:
    return Mutant(name="a fault", function="lanes:Lane.admit", change=change, killed_by=())


def changed(change: Change) -> tuple[str, str]:
    """Return the line that a change makes anew, before and after."""
    before = ast.unparse(ast.parse(SOURCE)).splitlines()
    after = ast.unparse(mutant(change).mutated(SOURCE)).splitlines()
    ((old, new),) = ((old.strip(), new.strip()) for old, new in zip(before, after, strict=True) if old != new)
    return old, new


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (replaced("self.reserved", "2 * _"), "held = self.used + 2 * self.reserved - amount"),
        (replaced("held", "0", of=2, at=2), "self.log(0, why='limit')"),
        (without_operand("self.used"), "held = self.reserved - amount"),
        (without_operand("self.is_open"), "if held > self.limit and amount:"),
        (without_operand("amount", of=2, at=1), "held = self.used + self.reserved"),
        (assigned("held", "_ or 1"), "held = self.used + self.reserved - amount or 1"),
        (assigned("self.seen", "2"), "self.seen += 2"),
        (bound("held", "_ + 1"), "if self.is_open and held > self.limit + 1 and amount:"),
        (flipped("each.until"), "return [each for each in self.all if each.until > 7]"),
        (condition("self.limit", False), "if False:"),
        (negated("each"), "return [each for each in self.all if not each.until < 7]"),
        (called("log", "print(_)"), "print(self.log(held, why='limit'))"),
        (argument("log", 0, "1"), "self.log(1, why='limit')"),
        (argument("log", "why", "_ + '?'"), "self.log(held, why='limit' + '?')"),
        (returns("[]"), "return []"),
        (without_call("log"), "pass"),
        (without_statement("self.log"), "pass"),
        (without_assignment("self.seen"), "pass"),
        (steps(replaced("7", "8"), replaced("8", "9")), "return [each for each in self.all if each.until < 9]"),
    ],
)
def test_an_operator_changes_one_place(change: Change, line: str) -> None:
    assert changed(change)[1] == line


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (replaced("self.moved", "0"), "expression self.moved: found in 0 places, not in 1"),
        (replaced("held", "0"), "expression held: found in 2 places, not in 1"),
        (without_operand("amount"), "operand amount: found in 2 places"),
        (assigned("self.log", "0"), "assignment to self.log: found in 0 places"),
        (bound("7 + 1", "_"), "comparison of 7 [+] 1: found in 0 places"),
        (flipped("self.all"), "comparison of self.all: found in 0 places"),
        (condition("self.used", True), "condition on self.used: found in 0 places"),
        (called("admit", "0"), "call of admit: found in 0 places"),
        (argument("log", "how", "0"), "argument how of log: found in 0 places"),
        (returns("0", of=2), "return of a value: found in 1 places, not in 2"),
        (without_call("print"), "statement that calls print: found in 0 places"),
        (without_statement("self.limit"), "statement with self.limit: found in 0 places"),
        (without_assignment("self.used"), "assignment to self.used: found in 0 places"),
        (replaced("self.used", "_"), "changes nothing"),
    ],
)
def test_an_operator_says_what_it_does_not_find_and_where(change: Change, complaint: str) -> None:
    with pytest.raises(
        NoSuchPlace, match=f"Mutant 'a fault' .*lanes:Lane.admit.*{complaint}|{complaint} in lanes:Lane"
    ):
        mutant(change).mutated(SOURCE)


@pytest.mark.parametrize("function", ["lanes:Lane.close", "lanes:Pool.admit", "lanes:admit"])
def test_a_function_that_is_gone_is_named(function: str) -> None:
    with pytest.raises(NoSuchPlace, match=function):
        replace(mutant(returns("0")), function=function).mutated(SOURCE)


def test_a_function_may_be_replaced_as_a_whole() -> None:
    def always(self: object, amount: int) -> int:
        return amount

    mutated = ast.unparse(mutant(body_of(always)).mutated(SOURCE))
    assert mutated.endswith("def admit(self: object, amount: int) -> int:\n        return amount")
