"""The books of one lane find what is wrong in sealed entries, which only the holder of the chain key can write."""

from __future__ import annotations

from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.rows import entry_key, mark_key_of
from shared.application.ledger.lane_books import LaneBooks
from shared.application.ledger.transfers import Transfers
from shared.application.ports.books import StoredEntry
from shared.domain.audit.hash_chain import HashChain, KeyRing, Sealed
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import EntryKind, LedgerEntry, Outcome
from shared.domain.pricing.price_book import PriceBook
from shared.domain.pricing.usage import Usage
from tests.tools.ledgers import PERIOD, PRICES, attempt

CHAIN = HashChain(KeyRing(keys={"0": b"test"}))
LANE = Lane("acme", PERIOD)


def books_of(*entries: LedgerEntry) -> LaneBooks:
    """Add sealed entries to the books of a lane."""
    stored = TableBooks(InMemoryTableStore())
    made = LaneBooks(
        lane=LANE,
        books=stored,
        chain=CHAIN,
        prices=PriceBook(PRICES),
        transfers=Transfers(),
        resolved=set(),
        head=stored.genesis(LANE),
        limit=Limit(100),
    )
    for entry in entries:
        fields = entry.fields()
        CHAIN.seal(made.head, fields)
        key, mark = entry_key(entry.seq), mark_key_of(entry)
        made.add(StoredEntry(key=key, entry=entry, sealed=Sealed.from_fields(fields), mistyped=(), mark=mark))
    return made


def entry(seq: int, kind: EntryKind, **fields: object) -> LedgerEntry:
    made: dict[str, object] = {"seq": seq, "kind": kind, "timestamp": "", "commit_id": f"c{seq}", **fields}
    return LedgerEntry(**made)  # type: ignore[arg-type]


def charged(seq: int, kind: EntryKind, amount: Amount, usage: Usage, **fields: object) -> LedgerEntry:
    outcome = Outcome(kind=kind, amount=amount, usage=usage)
    return entry(seq, kind, amount=amount, attempt=attempt(), outcome=outcome, **fields)


def found_in(books: LaneBooks) -> list[tuple[str, str, str]]:
    return [(each.invariant, each.row, each.property_name) for each in books.violations]


def test_an_entry_after_the_close_is_found() -> None:
    books = books_of(entry(1, EntryKind.CLOSE), entry(2, EntryKind.LIMIT, limit=Limit(200)))
    assert found_in(books) == [("I9", entry_key(2), "")]


def test_a_grant_that_is_repeated_is_found() -> None:
    grants = [entry(seq, EntryKind.LIMIT, limit=Limit(100 + seq), reference="grant/g1") for seq in (1, 2)]
    books = books_of(*grants)
    assert found_in(books) == [("I8", entry_key(2), "")]
    assert books.granted == Amount(2)


def test_an_adjustment_that_is_repeated_is_found() -> None:
    usage, amount = Usage(input=1), Amount(1, 2_500_000)
    twice = [charged(seq, EntryKind.ADJUST, amount, usage, rid="r1", reference="2026-10/r1") for seq in (1, 2)]
    assert found_in(books_of(*twice)) == [("I6", entry_key(2), "")]


def test_a_cost_that_is_not_that_of_the_usage_is_found() -> None:
    wrong = charged(1, EntryKind.CHARGE, Amount(1, 7), Usage(input=1), rid="r1")
    assert found_in(books_of(wrong)) == [("I10", entry_key(1), "pusd")]


def test_tokens_that_are_not_those_of_the_usage_are_found() -> None:
    wrong = charged(1, EntryKind.CHARGE, Amount(3, 2_500_000), Usage(input=1), rid="r1")
    assert found_in(books_of(wrong)) == [("I10", entry_key(1), "tokens")]


def test_a_limit_entry_that_tells_another_limit_before_it_is_found() -> None:
    changes = [entry(1, EntryKind.LIMIT, limit=Limit(200), previous_limit=Limit(100)),
               entry(2, EntryKind.LIMIT, limit=Limit(300), previous_limit=Limit(250))]  # fmt: skip
    books = books_of(*changes)
    assert found_in(books) == [("I8", entry_key(2), "before_tokens")]
    assert books.is_limit0_proven


def test_an_entry_of_an_earlier_version_does_not_prove_the_first_limit() -> None:
    assert not books_of(entry(1, EntryKind.LIMIT, limit=Limit(200))).is_limit0_proven


def test_a_limit_that_was_raised_and_lowered_again_counts_as_lowered() -> None:
    raised, back = entry(1, EntryKind.LIMIT, limit=Limit(200)), entry(2, EntryKind.LIMIT, limit=Limit(100))
    assert not books_of(raised).was_lowered
    assert books_of(raised, back).was_lowered
