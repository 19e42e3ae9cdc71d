"""Who owns which response: `responses{YYYYMM}`, one partition a tenant; and in `responses` those that still run.

Upstream keeps a response for 30 days, so that it is in one of three months' tables; retention is dropping a table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from shared.adapters.documents.store import key_of
from shared.adapters.tables.rows import reservation_fields, reservation_from
from shared.adapters.tables.store import (
    AnswerLost,
    Delete,
    Insert,
    Merge,
    PreconditionFailed,
    Rejected,
    Row,
    RowExists,
    RowMissing,
    TableMissing,
    TableStore,
)
from shared.application.ports.clock import Clock
from shared.domain.errors import StorageUnavailable
from shared.domain.identifiers import BillingPeriod
from shared.domain.inference.stored_response import StoredResponse
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import Reservation
from shared.domain.stored_fields import Fields

_RUNNING: Final = "responses"
_PARTITION: Final = "running"
_UNAVAILABLE: Final = "The response's owner could not be stored or read. Retry."


class TableResponses:
    """Implements `ResponseDirectory`."""

    def __init__(self, store: TableStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def get(self, tenant_id: str, response_id: str) -> StoredResponse | None:
        with _translated():
            for table in self._tables():
                row = await self._find(table, tenant_id, key_of(response_id))
                if row is not None:
                    fields = row.fields
                    return StoredResponse(
                        response_id=response_id,
                        tenant_id=tenant_id,
                        deployment=str(fields["deployment"]),
                        backend_id=str(fields["backend"]),
                        context_tokens=int(fields["context_tokens"]),
                    )
        return None

    async def put(self, stored: StoredResponse) -> None:
        table, partition, key = self._tables()[0], stored.tenant_id, key_of(stored.response_id)
        fields: Fields = {
            "deployment": stored.deployment,
            "backend": stored.backend_id,
            "context_tokens": stored.context_tokens,
        }
        with _translated():
            await self._store.create_table(table)
            try:
                await self._store.submit(table, partition, [Insert(key, fields)], "put")
            except RowExists:
                row = await self._find(table, partition, key)
                if row is not None:
                    with suppress(PreconditionFailed):  # whoever was faster has stored the same response
                        await self._store.submit(table, partition, [Merge(key, fields, row.etag)], "put")

    async def remove(self, tenant_id: str, response_id: str) -> None:
        with _translated():
            for table in self._tables():
                try:
                    await self._store.submit(table, tenant_id, [Delete(key_of(response_id))], "remove")
                except (RowMissing, TableMissing):
                    continue

    async def defer(self, response_id: str, reservation: Reservation) -> None:
        lane = reservation.lane
        where: Fields = {
            "rid": reservation.rid, "tenant_id": lane.tenant_id, "period": lane.period, "lane": lane.number
        }  # fmt: skip
        with _translated():
            await self._store.create_table(_RUNNING)
            row = Insert(key_of(response_id), {**reservation_fields(reservation, ""), **where})
            try:
                await self._store.submit(_RUNNING, _PARTITION, [row], "defer")
            except RowExists:
                return

    async def deferred(self) -> AsyncIterator[tuple[str, Reservation]]:
        with _translated():
            async for row in self._store.scan(_RUNNING, _PARTITION, "", "~"):
                fields = row.fields
                lane = Lane(str(fields["tenant_id"]), str(fields["period"]), int(fields["lane"]))
                yield row.key, reservation_from(lane, f"P|{fields['rid']}", fields)

    async def resolve(self, response_id: str) -> None:
        with _translated():
            try:
                await self._store.submit(_RUNNING, _PARTITION, [Delete(key_of(response_id))], "resolve")
            except (RowMissing, TableMissing):
                return

    def _tables(self) -> list[str]:
        """Those of the current and the two months before."""
        period = BillingPeriod.containing(self._clock.now())
        periods = (period, period.previous(), period.previous().previous())
        return [f"{_RUNNING}{str(each).replace('-', '')}" for each in periods]

    async def _find(self, table: str, partition: str, key: str) -> Row | None:
        try:
            return await self._store.get(table, partition, key)
        except TableMissing:
            return None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (AnswerLost, Rejected) as error:
        raise StorageUnavailable(_UNAVAILABLE) from error
