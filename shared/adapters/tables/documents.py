"""Documents in Azure Table Storage, through azure-data-tables. Requests read most documents from caches instead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.data.tables import TableEntity, TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient, TableServiceClient

from shared.adapters.documents.store import OUTBOX, Document, OutboxRow, Pending, Write
from shared.domain.errors import AlreadyExists, GatewayError, StorageUnavailable, VersionConflict

_DOCUMENT: Final = "document"
_AUDIT: Final = "audit"
"""The property of a waiting event that holds its text."""
_EVENT: Final = "event"
"""The property of a document that names the event of its latest change."""
_OUTBOX_END: Final = OUTBOX[:-1] + chr(ord(OUTBOX[-1]) + 1)
_NO_OUTBOX: Final = f"(RowKey lt '{OUTBOX}' or RowKey ge '{_OUTBOX_END}')"
_ONLY_OUTBOX: Final = f"RowKey ge '{OUTBOX}' and RowKey lt '{_OUTBOX_END}'"
_UNREACHABLE: Final = "The configuration store could not be reached."
_EXISTS: Final = "An object with this name already exists."
_Operation: TypeAlias = tuple[str, dict[str, str], dict[str, Any]]
_MAX_PROPERTY_BYTES: Final = 65_536
"""Bytes in UTF-16."""
_PART_CHARACTERS: Final = 16_000


class TableDocuments:
    """Implements `Documents`. A table is created when this process first writes to it."""

    def __init__(self, service: TableServiceClient) -> None:
        self._service = service
        self._known_tables: set[str] = set()

    async def get(self, table: str, partition: str, key: str) -> Document | None:
        try:
            async with _translated_errors():
                return _document(await self._service.get_table_client(table).get_entity(partition, key))
        except ResourceNotFoundError:
            return None

    async def insert(self, table: str, partition: str, key: str, text: str, event: OutboxRow | None = None) -> str:
        if event is not None:
            return (await self.commit(table, partition, [Write(key=key, text=text, etag=None, event=event)]))[0]
        async with _translated_errors():
            client = await self._writable(table)
            answer = await client.create_entity(_entity(partition, key, text))
        return _etag_of(answer)

    async def replace(
        self, table: str, partition: str, key: str, text: str, etag: str, event: OutboxRow | None = None
    ) -> str:
        if event is not None:
            return (await self.commit(table, partition, [Write(key=key, text=text, etag=etag, event=event)]))[0]
        async with _translated_errors():
            client = await self._writable(table)
            try:
                answer = await client.update_entity(_entity(partition, key, text), **_replacing(etag))
            except ResourceNotFoundError:  # the version that the caller read was removed
                raise VersionConflict from None
        return _etag_of(answer)

    async def commit(self, table: str, partition: str, writes: Sequence[Write]) -> list[str]:
        operations = [_operation(partition, each) for each in writes]
        written = [each for each in writes if each.text is not None]
        operations += [_outbox_row(partition, each.event, each.text or "") for each in writes if each.event is not None]
        return [*(await self._transact(table, *operations))[: len(written)]]

    async def put(self, table: str, partition: str, key: str, text: str) -> None:
        async with _translated_errors():
            client = await self._writable(table)
            await client.upsert_entity(_entity(partition, key, text), mode=UpdateMode.REPLACE)

    async def remove(self, table: str, partition: str, key: str) -> None:
        with suppress(ResourceNotFoundError):
            async with _translated_errors():
                await self._service.get_table_client(table).delete_entity(partition, key)

    async def remove_version(self, document: Document, table: str, event: OutboxRow) -> None:
        removal = _operation(document.partition, Write(key=document.key, text=None, etag=document.etag))
        await self._transact(table, removal, _outbox_row(document.partition, event, document.text))

    async def append(self, table: str, partition: str, event: OutboxRow) -> None:
        await self._transact(table, _outbox_row(partition, event, ""))

    async def pending(self, table: str, limit: int) -> list[Pending]:
        found: list[Pending] = []
        try:
            async with _translated_errors():
                client = self._service.get_table_client(table)
                async for entity in client.query_entities(_ONLY_OUTBOX, results_per_page=limit):
                    found.append(_pending(table, entity))
                    if len(found) == limit:
                        break
        except ResourceNotFoundError:
            return []
        return found

    async def withdraw(self, event: Pending) -> None:
        await self.remove(event.table, event.partition, OUTBOX + event.event_id)

    async def list(
        self,
        table: str,
        *,
        partition: str | None = None,
        after: str = "",
        before: str = "",
        limit: int | None = None,
    ) -> list[Document]:
        client = self._service.get_table_client(table)
        condition, bounds = _chosen(partition, after, before)
        found: list[Document] = []
        try:
            async with _translated_errors():
                async for entity in client.query_entities(condition, parameters=bounds, results_per_page=limit):
                    found.append(_document(entity))
                    if len(found) == limit:
                        break
        except ResourceNotFoundError:
            return []
        return found

    async def _transact(self, table: str, *operations: _Operation) -> Sequence[str]:
        """Make all changes or none. Returns the new ETags of the rows, in their order; none for a row that was deleted.

        Raises `StorageUnavailable` if the answer was cut.
        """
        async with _translated_errors():
            client = await self._writable(table)
            answers = await client.submit_transaction(operations)
        return [_etag_of(answer) for answer, (kind, *_) in zip(answers, operations, strict=True) if kind != "delete"]

    async def _writable(self, table: str) -> TableClient:
        if table not in self._known_tables:
            await self._service.create_table_if_not_exists(table)
            self._known_tables.add(table)
        return self._service.get_table_client(table)


def _chosen(partition: str | None, after: str, before: str) -> tuple[str, dict[str, str]]:
    """Return the condition of a list, and its parameters."""
    name = "PartitionKey" if partition is None else "RowKey"
    stated = [
        ("PartitionKey eq @partition", "partition", partition or ""),
        (f"{name} gt @after", "after", after),
        (f"{name} lt @before", "before", before),
    ]
    used = [each for each in stated if each[2] or (each[1] == "partition" and partition is not None)]
    return " and ".join([*(each[0] for each in used), _NO_OUTBOX]), {each[1]: each[2] for each in used}


def _entity(partition: str, key: str, text: str, event: OutboxRow | None = None) -> dict[str, str]:
    """Make the row of a document."""
    entity = {"PartitionKey": partition, "RowKey": key, **_spread(_DOCUMENT, text)}
    return entity if event is None else {**entity, _EVENT: event.event_id}


def _outbox_row(partition: str, event: OutboxRow, document: str) -> _Operation:
    """Make the insertion of an event.

    Processes of earlier versions list it among the documents, for a minute. So it also holds the text of its document.
    """
    entity = {"PartitionKey": partition, "RowKey": OUTBOX + event.event_id, **_spread(_AUDIT, event.text)}
    return "create", {**entity, **_spread(_DOCUMENT, document)}, {}


def _spread(name: str, text: str) -> dict[str, str]:
    """Return a text as one property, or as several if it is too long for one.

    https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
    """
    parts = [text]
    if len(text.encode("utf-16-le")) > _MAX_PROPERTY_BYTES:
        parts = [text[at : at + _PART_CHARACTERS] for at in range(0, len(text), _PART_CHARACTERS)]
    names = [name, *(f"{name}{number}" for number in range(1, len(parts)))]
    return dict(zip(names, parts, strict=True))


def _operation(partition: str, write: Write) -> _Operation:
    """Make one operation of a transaction, as the SDK has it."""
    if write.text is None:
        return "delete", {"PartitionKey": partition, "RowKey": write.key}, _of_version(write.etag or "*")
    entity = _entity(partition, write.key, write.text, write.event)
    return ("create", entity, {}) if write.etag is None else ("update", entity, _replacing(write.etag))


def _replacing(etag: str) -> dict[str, Any]:
    """Return the arguments of an update that replaces the version `etag`; `*` for any."""
    return {"mode": UpdateMode.REPLACE, **_of_version(etag)}


def _of_version(etag: str) -> dict[str, Any]:
    """Return the arguments that limit an operation to the version `etag`; none for `*`."""
    return {} if etag == "*" else {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _etag_of(answer: Mapping[str, Any]) -> str:
    """Return the ETag of a written row. Raises `StorageUnavailable` if the answer was cut before it."""
    etag = answer["etag"]
    if etag is None:
        raise StorageUnavailable(_UNREACHABLE)
    return str(etag)


def _document(entity: TableEntity) -> Document:
    return Document(
        partition=entity["PartitionKey"],
        key=entity["RowKey"],
        text=_joined(entity, _DOCUMENT),
        etag=str(entity.metadata["etag"]),
        event_id=str(entity.get(_EVENT, "")),
    )


def _pending(table: str, entity: TableEntity) -> Pending:
    text = _joined(entity, _AUDIT)
    event_id = entity["RowKey"].removeprefix(OUTBOX)
    return Pending(table=table, partition=entity["PartitionKey"], event_id=event_id, text=text)


def _joined(entity: TableEntity, name: str) -> str:
    """Return the text of a row. One that something else has written may have none; then it is empty."""
    text, number = str(entity.get(name, "")), 1
    while (part := entity.get(f"{name}{number}")) is not None:
        text, number = text + str(part), number + 1  # something else may have written a number
    return text


@asynccontextmanager
async def _translated_errors() -> AsyncIterator[None]:
    """Raise errors of the SDK as those of the port.

    `ResourceNotFoundError` stays: a missing row or table means something else to each method.
    """
    try:
        yield
    except ResourceNotFoundError:
        raise
    except ResourceExistsError:
        raise AlreadyExists(_EXISTS) from None
    except ResourceModifiedError:
        raise VersionConflict from None
    except TableTransactionError as error:
        raise _refusal(error) from None
    except (AzureError, AttributeError) as error:  # the SDK raises the latter for an insertion whose answer is cut
        raise StorageUnavailable(_UNREACHABLE) from error


def _refusal(error: TableTransactionError) -> GatewayError:
    """Return the error of the port for a refused transaction. The SDK has one class for all reasons."""
    match error.status_code:
        case 409:
            return AlreadyExists(_EXISTS)
        case 404 | 412:  # of a row that was removed, or changed, since the caller read it
            return VersionConflict()
        case _:
            return StorageUnavailable(_UNREACHABLE)
