"""Write the tables of docs/reference/telemetry.md, which follow from the declared instruments and events.

python -m tests.tools.telemetry_tables           print the tables
python -m tests.tools.telemetry_tables --write   write them into the document
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from shared.domain.telemetry.events import EVENTS
from shared.domain.telemetry.instruments import INSTRUMENTS, Instrument

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "telemetry.md"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _table(*rows: str) -> str:
    columns = rows[0].count("|") - 1
    return "\n".join((rows[0], _row(*["---"] * columns), *rows[1:]))


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def instruments() -> str:
    """Return the table of all instruments."""
    rows = (
        _row(f"`{each.name}`", each.kind, f"`{each.unit}`", _code(each.exported_dimensions), each.description)
        for each in INSTRUMENTS
    )
    return _table(_row("name", "kind", "unit", "dimensions", "meaning"), *rows)


def buckets() -> str:
    """Return the table of the bounds of all buckets."""
    rows = (_row(f"`{each.name}`", _bounds(each)) for each in INSTRUMENTS if each.bounds)
    return _table(_row("name", "bounds"), *rows)


def _bounds(instrument: Instrument) -> str:
    return ", ".join(f"{bound:g}" for bound in instrument.bounds)


def events() -> str:
    """Return the table of all events."""
    rows = (
        _row(
            f"`{each.name}`",
            each.meaning,
            _code(each.fields),
            "" if each.per_second is None else str(each.per_second),
        )
        for each in EVENTS
    )
    return _table(_row("event", "meaning", "fields", "most a second"), *rows)


TABLES: Final[Mapping[str, str]] = {"instruments": instruments(), "buckets": buckets(), "events": events()}
"""The tables of the document, by the name in its markers."""


def tables_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the Markdown of each table that a document has between markers."""
    for match in _MARKED.finditer(text):
        yield match["name"], match["table"]


def with_tables(text: str) -> str:
    """Return a document with the declared tables between its markers."""
    return _MARKED.sub(lambda match: f"{match['begin']}{TABLES[match['name']]}{match['end']}", text)


_MARKED: Final = re.compile(
    r"(?P<begin><!-- telemetry: (?P<name>\w+) -->\n\n)(?P<table>.*?)(?P<end>\n\n<!-- /telemetry -->)", re.DOTALL
)


def main(arguments: Sequence[str]) -> None:
    if "--write" in arguments:
        DOCUMENT.write_text(with_tables(DOCUMENT.read_text()))
        return
    for name, text in TABLES.items():
        sys.stdout.write(f"{name}\n\n{text}\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
