"""Every mutant of tests/proof/mutants/ still changes the function that it names. `make prove` runs them."""

from __future__ import annotations

import ast
import builtins
from functools import cache
from pathlib import Path

import pytest

from tests.proof.mutants import MUTANTS
from tests.proof.mutation.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]


@cache
def source(module: str) -> str:
    return (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()


def identifiers(tree: ast.AST) -> set[str]:
    """Return all names in a tree: of variables, attributes, parameters, arguments, definitions and imports."""
    fields = ("id", "attr", "arg", "name", "asname")
    return {name for node in ast.walk(tree) for field in fields if isinstance(name := getattr(node, field, None), str)}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_mutant_changes_its_function_and_can_be_compiled(mutant: Mutant) -> None:
    """It may use only names of its module: one that has been renamed there would fail every test, and prove nothing."""
    mutated = mutant.mutated(source(mutant.module))
    compile(mutated, mutant.module, "exec", dont_inherit=True)
    known = identifiers(ast.parse(source(mutant.module))) | set(dir(builtins)) | set(dir(dict))
    assert identifiers(mutated) - known == set()


def test_each_mutant_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_the_files_that_notice_mutants_exist() -> None:
    assert [name for mutant in MUTANTS for name in mutant.killed_by if not (ROOT / "tests" / name).exists()] == []
