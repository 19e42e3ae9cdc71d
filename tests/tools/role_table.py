"""Write the table of roles in docs/reference/roles.md, which follows from the table of operations.

python -m tests.tools.role_table           print the table
python -m tests.tools.role_table --write   write it into the document
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shared.http.operation import Operation
from shared.http.operation_table import OPERATIONS

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "roles.md"
_MARKED: Final = re.compile(r"(?P<begin><!-- roles -->\n\n)(?P<table>.*?)(?P<end>\n*<!-- /roles -->)", re.DOTALL)


def role_table() -> str:
    """Return the Markdown table of operations and of the roles that permit them."""
    rows = (f"| {each.method} `{each.path}` | {_told(each)} |" for each in OPERATIONS)
    return "\n".join(("| operation | roles |", "| --- | --- |", *rows))


def _told(operation: Operation) -> str:
    return "anyone" if operation.is_open else ", ".join(f"`{role}`" for role in operation.roles)


def table_in(text: str) -> str:
    """Return the table that a document has between the markers; empty if it has none."""
    found = _MARKED.search(text)
    return found["table"] if found else ""


def with_table(text: str) -> str:
    """Return a document with the declared table between its markers."""
    return _MARKED.sub(lambda match: f"{match['begin']}{role_table()}\n\n<!-- /roles -->", text)


def main(arguments: Sequence[str]) -> None:
    if "--write" in arguments:
        DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
        return
    sys.stdout.write(f"{role_table()}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
