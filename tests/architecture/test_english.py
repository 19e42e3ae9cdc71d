"""Docstrings state effects, and do not begin like a question."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUESTION = re.compile(r"\s*(What|Whether|Who|Which|Of|How)\b")


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of modules, classes, functions and attributes, with their lines."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


@pytest.mark.parametrize("folder", ["shared", "local", "bench", "tests"])
def test_no_docstring_begins_like_a_question(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in docstrings(path.read_text())
        if QUESTION.match(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source", ['"""Whether it rains."""', 'def f():\n    """How it rains."""', 'a = 1\n"""Of rain."""']
)
def test_a_question_is_found(source: str) -> None:
    assert [text for _, text in docstrings(source) if QUESTION.match(text)]
