"""The tables of docs/reference/telemetry.md say what instruments and events declare."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.application import structured_log
from shared.domain.telemetry.events import EVENTS
from shared.domain.telemetry.instruments import INSTRUMENTS, InstrumentKind
from tests.tools.telemetry_tables import DOCUMENT, TABLES, tables_in, with_tables

SHARED = Path(structured_log.__file__).resolve().parents[1]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_what_is_declared(name: str) -> None:
    told = f"Run `python -m tests.tools.telemetry_tables --write`. Expected for {name}:\n\n{TABLES[name]}"
    assert dict(tables_in(DOCUMENT.read_text())).get(name) == TABLES[name], told


@pytest.mark.parametrize("change", [("`gateway.tokens`", "`gateway.token`"), ("| sum |", "| gauge |"), ("60000", "6")])
def test_a_table_that_says_something_else_is_found_and_corrected(change: tuple[str, str]) -> None:
    right = DOCUMENT.read_text()
    wrong = right.replace(*change)
    assert dict(tables_in(wrong)) != dict(tables_in(right))
    assert dict(tables_in(with_tables(wrong))) == dict(tables_in(right))


def test_names_are_unique_and_ours_begin_alike() -> None:
    for names in ([each.name for each in INSTRUMENTS], [each.name for each in EVENTS]):
        assert len(set(names)) == len(names)
        assert [name for name in names if not name.startswith(("gateway.", "gen_ai."))] == []


def test_bounds_ascend_and_belong_to_buckets() -> None:
    for each in INSTRUMENTS:
        assert list(each.bounds) == sorted(set(each.bounds))
        assert bool(each.bounds) is (each.kind in (InstrumentKind.BUCKETS, InstrumentKind.HISTOGRAM))


def literals(source: str) -> Iterator[str]:
    """Yield the texts of a module that are no docstrings and look like names of ours."""
    tree = ast.parse(source)
    told = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in told:
            yield node.value


def test_no_other_module_spells_the_name_of_an_instrument() -> None:
    names = {each.name for each in INSTRUMENTS}
    table = SHARED / "domain" / "telemetry"
    found = [
        f"{path.relative_to(SHARED)}: {text}"
        for path in SHARED.rglob("*.py")
        if not path.is_relative_to(table)
        for text in literals(path.read_text())
        if text in names - {each.name for each in EVENTS}
    ]
    assert found == []


def logged(source: str) -> Iterator[str]:
    """Yield the names of events that a module logs."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "log_event":
            name = node.args[1]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value


def test_every_event_that_is_logged_is_in_the_table() -> None:
    names = {each.name for each in EVENTS}
    found = {name for path in SHARED.rglob("*.py") for name in logged(path.read_text())}
    assert found - names == set()
    assert "gateway.request.failed" in found
