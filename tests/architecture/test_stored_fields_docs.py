"""The tables of stored fields in docs/reference/ledger.md say what the codecs declare."""

from __future__ import annotations

import re

import pytest

from tests.tools.field_tables import DOCUMENT, FIELDS, table, tables_in, with_tables

_ALWAYS_WRITTEN = re.compile(r"Empty\s+fields\s+are\s+left\s+out,\s+except ([^.]+)\.")


@pytest.mark.parametrize("name", FIELDS)
def test_a_table_says_what_its_codec_declares(name: str) -> None:
    expected = table(FIELDS[name])
    told = f"Run `python -m tests.tools.field_tables --write`. Expected for {name}:\n\n{expected}"
    assert dict(tables_in(DOCUMENT.read_text())).get(name) == expected, told


def test_the_document_has_each_table_once() -> None:
    assert [name for name, _ in tables_in(DOCUMENT.read_text())] == [*FIELDS]


def test_the_document_names_the_fields_that_are_always_written() -> None:
    (stated,) = _ALWAYS_WRITTEN.findall(DOCUMENT.read_text())
    always = [field.name for field in FIELDS["entry"] if field.is_always_written]
    assert sorted(re.findall(r"`(\w+)`", stated)) == sorted(always)


@pytest.mark.parametrize("change", [("| integer |", "| text |"), ("`seq`", "`sequence`"), ("without gaps", "")])
def test_a_table_that_says_something_else_is_found_and_corrected(change: tuple[str, str]) -> None:
    right = DOCUMENT.read_text()
    wrong = right.replace(*change)
    assert dict(tables_in(wrong)) != dict(tables_in(right))
    assert dict(tables_in(with_tables(wrong))) == dict(tables_in(right))
