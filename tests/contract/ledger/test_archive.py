"""A period is exported to a file and restored into another account. The restored books verify."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from shared.adapters.documents.pricing import DocumentPrices
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.archive import PeriodArchive, PeriodMoves
from shared.adapters.tables.archive_file import ArchiveDamaged
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.rollups import TableRollups
from shared.adapters.tables.store import Insert, InspectableStore, InspectedRow, Row, TableMissing
from shared.application.ledger.roll_up_usage import RollUpUsage
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.errors import AlreadyExists, LedgerUnavailable
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import EntryKind
from shared.domain.pricing.price import Price
from tests.tools.ledgers import PRICES, FaultyStore, ManualClock, account, charge, reservation, sweep_by

PERIOD = "2025-03"
CHAIN = HashChain(KeyRing(keys={"0": b"test"}))


async def prices() -> DocumentPrices:
    made = DocumentPrices(InMemoryDocuments())
    for price in PRICES:
        await made.restore(price)
    return made


async def written(store: InspectableStore) -> InspectableStore:
    """Write a period with every kind of row, but without transfers."""
    ledger = TableLedger(store, CHAIN, ManualClock())
    for tenant in ("acme", "bolt"):
        limit = account(tenant, tokens=None, period=PERIOD)
        for _ in range(60):
            held = reservation(tenant, period=PERIOD)
            await ledger.reserve(limit, held)
            await ledger.settle(held, charge())
        roll_up = RollUpUsage(ledger, TableRollups(store), ManualClock(), sweep_by(ManualClock()))
        await roll_up.lane(Lane(tenant, PERIOD))
        expired = reservation(tenant, period=PERIOD)
        await ledger.reserve(limit, expired)
        await ledger.expire(expired, charge(10, 0, EntryKind.EXPIRE))
        await ledger.reserve(limit, reservation(tenant, period=PERIOD))
    await ledger.open(account("idle", period=PERIOD))
    return store


async def findings(store: InspectableStore, book: DocumentPrices) -> list[str]:
    verify = VerifyLedger(TableBooks(store), book, CHAIN)
    return [str(finding) async for _, found in verify(PERIOD) for finding in found]


async def test_a_restored_period_verifies_and_exports_to_the_same_bytes(
    store: InspectableStore, tmp_path: Path
) -> None:
    source, empty_book = await written(InMemoryTableStore()), DocumentPrices(InMemoryDocuments())
    exported = await PeriodArchive(source, await prices()).export(PERIOD, tmp_path / "a")
    assert exported == 3 + 2 * (61 + 2 + 1 + 2) + 1
    target = PeriodArchive(store, empty_book)
    assert await target.restore(tmp_path / "a") == PERIOD
    assert await target.restore(tmp_path / "a") == PERIOD
    assert await findings(store, empty_book) == []
    assert await TableLedger(store, CHAIN, ManualClock()).balance(Lane("acme", PERIOD)) == await TableLedger(
        source, CHAIN, ManualClock()
    ).balance(Lane("acme", PERIOD))
    await target.export(PERIOD, tmp_path / "b")
    assert gzip.decompress((tmp_path / "b").read_bytes()) == gzip.decompress((tmp_path / "a").read_bytes())


class Contradicting(DocumentPrices):
    """A price book that has another price at the same place."""

    async def restore(self, price: Price) -> None:
        raise AlreadyExists("Another price stands here.")


async def test_a_price_that_stands_elsewhere_otherwise_ends_the_restoring(tmp_path: Path) -> None:
    await PeriodArchive(await written(InMemoryTableStore()), await prices()).export(PERIOD, tmp_path / "a")
    for is_new, error in ((False, AlreadyExists), (True, ArchiveDamaged)):
        archive = PeriodArchive(InMemoryTableStore(), Contradicting(InMemoryDocuments()), is_new=is_new)
        with pytest.raises(error):
            await archive.restore(tmp_path / "a")


async def test_a_row_with_other_content_is_not_overwritten(tmp_path: Path) -> None:
    await PeriodArchive(await written(InMemoryTableStore()), await prices()).export(PERIOD, tmp_path / "a")
    other = InMemoryTableStore()
    await other.create_table("ledger202503")
    await other.submit("ledger202503", "acme|00", [Insert("E|0000000000000007", {"seq": 8})], "foreign")
    with pytest.raises(AlreadyExists, match="holds something else"):
        await PeriodArchive(other, await prices()).restore(tmp_path / "a")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:-20],
        lambda _: gzip.compress(b""),
        lambda _: gzip.compress(b"nonsense"),
        lambda _: gzip.compress(b"[]"),
        lambda content: gzip.compress(gzip.decompress(content).replace(b"charge", b"chargX", 1)),
        lambda content: gzip.compress(b"\n".join(gzip.decompress(content).split(b"\n")[:-3])),
        lambda _: b"not gzip",
        lambda content: gzip.compress(gzip.decompress(content).replace(b'"period"', b'"perios"', 1)),
        lambda content: gzip.compress(
            gzip.decompress(content).replace(b"tallygate-period-1", b"tallygate-period-9", 1)
        ),
        lambda content: content[:60] + bytes(8) + content[68:],
    ],
)
async def test_a_damaged_file_is_refused_before_anything_is_written(
    spoil: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    await PeriodArchive(await written(InMemoryTableStore()), await prices()).export(PERIOD, tmp_path / "a")
    (tmp_path / "a").write_bytes(spoil((tmp_path / "a").read_bytes()))
    empty, book = InMemoryTableStore(), DocumentPrices(InMemoryDocuments())
    with pytest.raises(ArchiveDamaged):
        await PeriodArchive(empty, book).restore(tmp_path / "a")
    assert (await book.load()).readable == []
    for table in ("registry", "ledger202503", "rollup202503"):
        with pytest.raises(TableMissing):
            await empty.get(table, "acme|00", "B")


async def test_a_lane_that_changes_is_read_again_a_limited_number_of_times(tmp_path: Path) -> None:
    rows = await written(InMemoryTableStore())
    ledger = TableLedger(rows, CHAIN, ManualClock())

    class Busy(FaultyStore):
        moves = 3

        async def inspect(self, table: str, partition: str, first: str, end: str = "") -> AsyncIterator[InspectedRow]:
            if first.startswith("E|") and not end and self.moves:
                self.moves -= 1
                held = reservation("acme", period=PERIOD)
                await ledger.reserve(account("acme", tokens=None, period=PERIOD), held)
                await ledger.settle(held, charge())
            async for row in super().inspect(table, partition, first, end):
                yield row

    busy = Busy(rows)
    await PeriodArchive(busy, await prices()).export(PERIOD, tmp_path / "a")
    restored, book = InMemoryTableStore(), await prices()
    await PeriodArchive(restored, book).restore(tmp_path / "a")
    assert await findings(restored, book) == []
    busy.moves = 10**6
    with pytest.raises(PeriodMoves):
        await PeriodArchive(busy, await prices()).export(PERIOD, tmp_path / "b")


async def test_storage_that_cannot_be_reached_raises_an_error(tmp_path: Path) -> None:
    faulty = FaultyStore(await written(InMemoryTableStore()))
    archive = PeriodArchive(faulty, await prices())
    await archive.export(PERIOD, tmp_path / "a")
    faulty.is_down = True
    with pytest.raises(LedgerUnavailable):
        await archive.export(PERIOD, tmp_path / "b")
    with pytest.raises(LedgerUnavailable):
        await archive.restore(tmp_path / "a")


async def test_a_period_without_rows_can_be_archived(tmp_path: Path) -> None:
    assert await PeriodArchive(InMemoryTableStore(), await prices()).export("2024-01", tmp_path / "a") == 0
    assert await PeriodArchive(InMemoryTableStore(), await prices()).restore(tmp_path / "a") == "2024-01"
    never_rolled_up = InMemoryTableStore()
    await TableLedger(never_rolled_up, CHAIN, ManualClock()).open(account(period=PERIOD))
    assert await PeriodArchive(never_rolled_up, await prices()).export(PERIOD, tmp_path / "b") == 2


async def test_rows_that_disappear_while_they_are_compared_raise_an_error(tmp_path: Path) -> None:
    class Forgetful(InMemoryTableStore):
        async def get(self, *_: str) -> Row | None:
            return None

    await PeriodArchive(await written(InMemoryTableStore()), await prices()).export(PERIOD, tmp_path / "a")
    twice = PeriodArchive(Forgetful(), await prices())
    await twice.restore(tmp_path / "a")
    with pytest.raises(AlreadyExists):
        await twice.restore(tmp_path / "a")
