"""Ledger entries read back from their stored fields."""

from __future__ import annotations

from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.entries import EntryKind, LedgerEntry, Outcome
from shared.domain.pricing.usage import Usage
from tests.tools.ledgers import VERSION, attempt


def test_entries_read_back_from_their_fields() -> None:
    outcome = Outcome(
        kind=EntryKind.CHARGE,
        amount=Amount(3, 4),
        usage=Usage(input=3, reasoning=1),
        status=200,
        error_code="x",
        latency_ms=5,
        estimated=True,
        content_filter="hate",
    )
    entries = [
        LedgerEntry(
            seq=1,
            kind=EntryKind.CHARGE,
            timestamp="t",
            commit_id="c",
            rid="r",
            amount=Amount(3, 4),
            reserved=Amount(5, 6),
            attempt=attempt(streamed=True),
            outcome=outcome,
        ),
        LedgerEntry(
            seq=2, kind=EntryKind.LIMIT, timestamp="t", commit_id="c", limit=Limit(None, 0), actor="boss", reason="why"
        ),
        LedgerEntry(seq=3, kind=EntryKind.CLOSE, timestamp="t", commit_id="c"),
        LedgerEntry(seq=4, kind=EntryKind.CLOSE, timestamp="t", commit_id="c", balance_sha256="0" * 64),
    ]
    for entry in entries:
        assert LedgerEntry.from_fields(entry.fields()) == entry
    assert entries[0].fields()["price_version"] == VERSION
