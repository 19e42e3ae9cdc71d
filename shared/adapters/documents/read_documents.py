"""Reads of single documents, which name the row of one that cannot be read."""

from __future__ import annotations

from typing import TypeVar

from shared.adapters.documents.codec import from_json
from shared.adapters.documents.store import Document
from shared.domain.errors import RowsDamaged

T = TypeVar("T")


def read_document(kind: type[T], table: str, document: Document) -> T:
    """Read a stored object of type `kind`. Raises `RowsDamaged`, which names the row, for anything else."""
    try:
        return from_json(kind, document.text)
    except ValueError as error:
        row = f"{table}/{document.partition}/{document.key}"
        raise RowsDamaged(f"The row {row} cannot be read, because something else wrote it.") from error
