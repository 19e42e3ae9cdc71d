"""The document of roles says what the table of operations declares."""

from __future__ import annotations

from shared.domain.identity.role import Role
from tests.tools.role_table import DOCUMENT, role_table, table_in, with_table


def test_the_document_has_the_declared_table() -> None:
    told = f"Run `python -m tests.tools.role_table --write`. Expected:\n\n{role_table()}"
    assert table_in(DOCUMENT.read_text()) == role_table(), told


def test_the_document_explains_every_role() -> None:
    text = DOCUMENT.read_text()
    assert [role for role in Role if role is not Role.ANYONE and f"| `{role}` | " not in text] == []


def test_a_table_that_says_something_else_is_found_and_corrected() -> None:
    right = DOCUMENT.read_text()
    wrong = right.replace("| `tenant.use`, `Gateway.Use` |", "| anyone |")
    assert table_in(wrong) != role_table()
    assert table_in(with_table(wrong)) == role_table()
