"""JSON files of a period: two-space indentation, UTF-8 and a final newline. Read back by the type of the document."""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec

DocumentT = TypeVar("DocumentT", bound=msgspec.Struct)


def write_document(document: msgspec.Struct) -> bytes:
    """Render a document with its fields in the order of their declaration."""
    return json.dumps(msgspec.to_builtins(document), indent=2, ensure_ascii=False).encode() + b"\n"


def read_document(content: bytes, kind: type[DocumentT]) -> DocumentT:
    """Read a document. Raises `ValueError` if it is no JSON, or if a field is missing or has another type."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:  # a damaged file may nest without end
        raise ValueError(str(error)) from error
