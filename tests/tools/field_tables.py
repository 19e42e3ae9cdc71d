"""Write the tables of stored fields in docs/reference/ledger.md, which follow from their declarations.

python -m tests.tools.field_tables           print the tables
python -m tests.tools.field_tables --write   write them into the document
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from shared.domain.ledger.balance import BALANCE
from shared.domain.ledger.entries import ENTRY_FIELDS, RESERVATION
from shared.domain.stored_fields import StoredField

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "ledger.md"
TYPES: Final[Mapping[type, str]] = {int: "integer", str: "text", bool: "boolean"}


def added_by_storage(name: str, meaning: str, *, always: bool = True) -> StoredField:
    """Describe a text that storage adds to the rows of a kind: by default to every row."""
    return StoredField(name=name, path=name, kind=str, meaning=meaning, is_int64=False, is_always_written=always)


FIELDS: Final[Mapping[str, Sequence[StoredField]]] = {
    "entry": (
        *ENTRY_FIELDS,
        added_by_storage(
            "hash",
            "SHA-256 over the previous hash and all other fields but `mac`; HMAC-SHA256 over them without a method",
        ),
        added_by_storage("mac", "HMAC-SHA256 over the hash; absent without a method", always=False),
    ),
    "balance": BALANCE.fields,
    "reservation": (*RESERVATION.fields, added_by_storage("commit_id", "id of the commit that wrote the reservation")),
}
"""The fields of each table, under its name in the document."""


def table(fields: Sequence[StoredField]) -> str:
    """Return the Markdown table of fields: stored name, type and meaning."""
    rows = (f"| `{field.name}` | {TYPES[field.kind]} | {field.meaning} |" for field in fields)
    return "\n".join(("| stored name | type | meaning |", "| --- | --- | --- |", *rows))


def tables_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the Markdown of each table that a document has between markers."""
    for match in _MARKED.finditer(text):
        yield match["name"], match["table"]


def with_tables(text: str) -> str:
    """Return a document with the declared tables between its markers."""
    return _MARKED.sub(lambda match: f"{match['begin']}{table(FIELDS[match['name']])}{match['end']}", text)


_MARKED: Final = re.compile(
    r"(?P<begin><!-- fields: (?P<name>\w+) -->\n\n)(?P<table>.*?)(?P<end>\n\n<!-- /fields -->)", re.DOTALL
)


def main(arguments: Sequence[str]) -> None:
    if "--write" in arguments:
        DOCUMENT.write_text(with_tables(DOCUMENT.read_text()))
        return
    for name, fields in FIELDS.items():
        sys.stdout.write(f"{name}\n\n{table(fields)}\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
