"""One suite of the listing of partitions over every table store."""

from __future__ import annotations

from shared.adapters.tables.store import Delete, Insert, TableStore


async def test_the_partitions_of_a_table_are_listed_in_order(store: TableStore, tenant: str) -> None:
    table = tenant
    assert [each async for each in store.partitions(table)] == []
    await store.create_table(table)
    for partition in ("2026-11", "2025-12", "2026-02"):
        await store.submit(table, partition, [Insert("a", {}), Insert("b", {})], "written")
    assert [each async for each in store.partitions(table)] == ["2025-12", "2026-02", "2026-11"]
    await store.submit(table, "2026-02", [Delete("a"), Delete("b")], "removed")
    assert [each async for each in store.partitions(table)] == ["2025-12", "2026-11"]
