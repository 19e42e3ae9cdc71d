"""Owners of stored responses in tables `responses{YYYYMM}`, and running responses in the table `responses`.

Upstream keeps a response for 30 days, so its owner is in one of the last three months' tables. Retention drops
whole tables (ADR 19).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from shared.adapters.documents.store import key_of, name_of
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
from shared.domain.errors import RowsDamaged, StorageUnavailable
from shared.domain.identifiers import BillingPeriod
from shared.domain.inference.stored_response import StoredResponse
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import Reservation
from shared.domain.stored_fields import Fields, FieldValue

_RUNNING_TABLE: Final = "responses"
_RUNNING_PARTITION: Final = "running"
_MAX_KEY_CHARACTERS: Final = 512
"""Table Storage answers 400 to a longer key, as to a broken request."""
_UNAVAILABLE: Final = "The response's owner could not be stored or read. Retry."


class TableResponses:
    """Implements `ResponseDirectory`."""

    def __init__(self, store: TableStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def get(self, tenant_id: str, response_id: str) -> StoredResponse | None:
        if len(key_of(response_id)) > _MAX_KEY_CHARACTERS:
            return None
        with _translated_errors():
            for table in self._month_tables():
                row = await self._find(table, tenant_id, key_of(response_id))
                if row is not None:
                    return _owned(row, tenant_id, response_id)
        return None

    async def put(self, stored: StoredResponse) -> None:
        table, partition, key = self._month_tables()[0], stored.tenant_id, key_of(stored.response_id)
        fields: Fields = {
            "deployment": stored.deployment,
            "backend": stored.backend_id,
            "context_tokens": stored.context_tokens,
        }
        with _translated_errors():
            await self._store.create_table(table)
            try:
                await self._store.submit(table, partition, [Insert(key, fields)], "put")
            except RowExists:
                row = await self._find(table, partition, key)
                if row is not None:  # else it was removed meanwhile, and stays so
                    with suppress(PreconditionFailed):  # another request was faster and stored the same response
                        await self._store.submit(table, partition, [Merge(key, fields, row.etag)], "put")

    async def remove(self, tenant_id: str, response_id: str) -> None:
        with _translated_errors():
            for table in self._month_tables():
                try:
                    await self._store.submit(table, tenant_id, [Delete(key_of(response_id))], "remove")
                except (RowMissing, TableMissing):
                    continue

    async def defer(self, response_id: str, reservation: Reservation) -> bool:
        lane, key = reservation.lane, key_of(response_id)
        where: Fields = {
            "rid": reservation.rid, "tenant_id": lane.tenant_id, "period": lane.period, "lane": lane.number
        }  # fmt: skip
        with _translated_errors():
            await self._store.create_table(_RUNNING_TABLE)
            row = Insert(key, {**reservation_fields(reservation, ""), **where})
            while True:
                try:
                    await self._store.submit(_RUNNING_TABLE, _RUNNING_PARTITION, [row], "defer")
                except RowExists:
                    known = await self._find(_RUNNING_TABLE, _RUNNING_PARTITION, key)
                    if known is None:  # it was settled meanwhile
                        continue
                    return known.fields["rid"] == reservation.rid
                return True

    async def reservation_of(self, response_id: str) -> Reservation | None:
        with _translated_errors():
            row = await self._find(_RUNNING_TABLE, _RUNNING_PARTITION, key_of(response_id))
        try:
            return None if row is None else _deferred_from(row.fields)
        except (LookupError, ValueError) as error:
            raise RowsDamaged(f"The deferred response {response_id} cannot be read ({error!r}).") from error

    async def deferred(self) -> AsyncIterator[tuple[str, Reservation]]:
        damaged: list[str] = []
        with _translated_errors():
            async for row in self._store.scan(_RUNNING_TABLE, _RUNNING_PARTITION, "", "~"):
                try:
                    deferred = name_of(row.key), _deferred_from(row.fields)
                except (KeyError, ValueError):
                    damaged.append(row.key)
                else:
                    yield deferred
        if damaged:
            raise RowsDamaged(f"Deferred responses cannot be read: {', '.join(damaged)}.")

    async def resolve(self, response_id: str) -> None:
        with _translated_errors():
            try:
                await self._store.submit(_RUNNING_TABLE, _RUNNING_PARTITION, [Delete(key_of(response_id))], "resolve")
            except (RowMissing, TableMissing):
                return

    def _month_tables(self) -> list[str]:
        """Return the tables in which an owner may be, the current month's first."""
        period = BillingPeriod.containing(self._clock.now())
        periods = (period, period.previous(), period.previous().previous())
        return [f"responses{str(each).replace('-', '')}" for each in periods]

    async def _find(self, table: str, partition: str, key: str) -> Row | None:
        try:
            return await self._store.get(table, partition, key)
        except TableMissing:
            return None


def _owned(row: Row, tenant_id: str, response_id: str) -> StoredResponse:
    """Read the owner of a response. Raises `RowsDamaged`, which names it."""
    fields = row.fields
    try:
        return StoredResponse(
            response_id=response_id,
            tenant_id=tenant_id,
            deployment=str(fields["deployment"]),
            backend_id=str(fields["backend"]),
            context_tokens=int(fields["context_tokens"]),
        )
    except (LookupError, ValueError) as error:
        raise RowsDamaged(f"The owner of the response {response_id} cannot be read ({error!r}).") from error


def _deferred_from(fields: Mapping[str, FieldValue]) -> Reservation:
    lane = Lane(str(fields["tenant_id"]), str(fields["period"]), int(fields["lane"]))
    return reservation_from(lane, f"P|{fields['rid']}", fields)


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise errors of the table service as those of the port."""
    try:
        yield
    except (AnswerLost, Rejected) as error:
        raise StorageUnavailable(_UNAVAILABLE) from error
