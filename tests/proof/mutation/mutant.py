"""A mutant: one function, and a change that makes it wrong."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from tests.proof.mutation.operators import Change
from tests.proof.mutation.trees import Definition, NoSuchPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A deliberate fault."""

    name: str
    function: str
    """`module:Class.method`, `module:function` or `module:Class`."""
    change: Change
    killed_by: tuple[str, ...]
    """The files below tests/ that notice it soonest. The whole suite runs only if they do not."""

    @property
    def module(self) -> str:
        return self.function.partition(":")[0]

    def mutated(self, source: bytes | str) -> ast.Module:
        """Return the changed syntax tree of the module. Raises `NoSuchPlace` if there is nothing to change."""
        tree = ast.parse(source)
        definition = _definition(tree, self.function)
        before = ast.dump(definition)
        try:
            self.change(definition)
        except NoSuchPlace as error:
            raise NoSuchPlace(f"Mutant '{self.name}' does not fit {self.function}: {error}") from None
        if ast.dump(definition) == before:
            raise NoSuchPlace(f"Mutant '{self.name}' changes nothing in {self.function}")
        return tree


def mutants_of(function: str, killed_by: str | tuple[str, ...], changes: Mapping[str, Change]) -> list[Mutant]:
    """Return the mutants of one function, by name."""
    files = (killed_by,) if isinstance(killed_by, str) else killed_by
    return [Mutant(name=name, function=function, change=change, killed_by=files) for name, change in changes.items()]


def _definition(tree: ast.Module, function: str) -> Definition:
    found: ast.AST = tree
    for name in function.partition(":")[2].split("."):
        body = getattr(found, "body", [])
        named = [node for node in body if isinstance(node, Definition) and node.name == name]
        if len(named) != 1:
            raise NoSuchPlace(f"There is no {function}")
        (found,) = named
    assert isinstance(found, Definition)
    return found
