"""A month of the audit log as JSON lines, from which its chain can be recomputed, and as CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from shared.adapters.canonical_json import encode_canonical
from shared.adapters.statements.csv_statements import not_a_formula
from shared.application.audit.read_audit_log import UNCHAINED
from shared.application.ports.audit import UnchainedEvent
from shared.domain.audit.audit_chain import AuditHead, ChainedEvent, chain_name

FORMAT: Final = "tallygate-audit-1"
_COLUMNS: Final = (
    "seq", "at", "event_id", "actor", "role", "action", "target", "reason", "source_address", "request_id", "weakens",
    "count", "minute", "refusals", "before", "after", "place", "before_sha256", "after_sha256",
)  # fmt: skip

_Export: TypeAlias = Callable[
    [str, AuditHead | None, Sequence[UnchainedEvent], AsyncIterator[ChainedEvent]], AsyncIterator[bytes]
]


async def json_lines(
    period: str, head: AuditHead | None, unchained: Sequence[UnchainedEvent], entries: AsyncIterator[ChainedEvent]
) -> AsyncIterator[bytes]:
    """Yield a line with the chain and its head, one for each event of an earlier version, and one for each entry.

    An entry's line has all of its stored fields. The last line tells their number: without it the file was cut.
    """
    chain = {"chain": chain_name(period), "head": head.head if head else "", "seq": head.seq if head else 0}
    yield _line({"format": FORMAT, **chain})
    for event in unchained:
        yield _line({"event": event.fields, "event_id": event.event_id, "note": UNCHAINED})
    count = 0
    async for entry in entries:
        count += 1
        yield _line(entry.sealed.fields())
    yield _line({"entries": count, "unchained": len(unchained)})


async def csv_rows(
    period: str,  # noqa: ARG001 - both formats get the same
    head: AuditHead | None,  # noqa: ARG001
    unchained: Sequence[UnchainedEvent],
    entries: AsyncIterator[ChainedEvent],
) -> AsyncIterator[bytes]:
    """Yield the header and a row for each event (RFC 4180). Cells that begin like a formula get an apostrophe."""
    yield _row(_COLUMNS)
    for event in unchained:
        yield _row(_cells("", event.fields))
    async for entry in entries:
        yield _row(_cells(str(entry.seq), _fields(entry.text)))


FORMATS: Final[Mapping[str, tuple[_Export, str]]] = {
    "jsonl": (json_lines, "application/x-ndjson"),
    "csv": (csv_rows, "text/csv; charset=utf-8"),
}


def _line(document: Mapping[str, object]) -> bytes:
    return encode_canonical(document) + b"\n"


def _fields(text: str) -> Mapping[str, Any]:
    """Return the fields of an event; one that cannot be read has only its text, as the object after it."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    return fields if isinstance(fields, dict) else {"after": text}


def _cells(seq: str, fields: Mapping[str, Any]) -> list[str]:
    return [seq, *(not_a_formula(_text(fields.get(name))) for name in _COLUMNS[1:])]


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else encode_canonical(value).decode()


def _row(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode()
