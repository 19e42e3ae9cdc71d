"""The wire form of entity group transactions and table pages.

https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions. Own code, because the SDK's
batch costs over ten times the client CPU (bench/ measures both), and a commit is what every request waits for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from shared.adapters.tables.rows import INT64_FIELDS
from shared.adapters.tables.store import (
    AnswerLost,
    Delete,
    Merge,
    PreconditionFailed,
    Rejected,
    Row,
    RowChange,
    RowExists,
    RowMissing,
    StoreError,
    TableMissing,
)
from shared.domain.stored_fields import Fields, FieldValue

_PART: Final = b"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
_JSON_HEADERS: Final = (
    b"Content-Type: application/json\r\nAccept: application/json;odata=nometadata\r\nPrefer: return-no-content\r\n"
)
_SERVICE_FIELDS: Final = frozenset({"PartitionKey", "RowKey", "Timestamp", "odata.etag"})
_ETAG: Final = re.compile(rb"\r\nETag: ([^\r]+)\r\n", re.IGNORECASE)
_INT64_ANNOTATIONS: Final = {name: f"{name}@odata.type" for name in INT64_FIELDS}


class _Page(msgspec.Struct):
    value: list[msgspec.Raw]


_page_decoder = msgspec.json.Decoder(_Page)
_row_decoder = msgspec.json.Decoder(dict)


def entity_path(table: str, partition: str, key: str) -> str:
    """The path of one entity, quoted; a quote inside a key is doubled, as OData asks."""
    pk, rk = (quote(part.replace("'", "''"), safe="") for part in (partition, key))
    return f"{table}(PartitionKey='{pk}',RowKey='{rk}')"


def encode_transaction(
    base_url: str, table: str, partition: str, changes: Sequence[RowChange], commit_id: str
) -> tuple[str, bytes]:
    """The content type and body of one transaction. Equal arguments give equal bytes."""
    boundary = f"changeset_{commit_id}"
    separator = f"--{boundary}\r\n".encode()
    parts = [f"--batch_{commit_id}\r\nContent-Type: multipart/mixed; boundary={boundary}\r\n\r\n".encode()]
    for number, change in enumerate(changes):
        parts += (separator, _PART, _operation(base_url, table, partition, change, number), b"\r\n")
    parts.append(f"--{boundary}--\r\n--batch_{commit_id}--\r\n".encode())
    return f"multipart/mixed; boundary=batch_{commit_id}", b"".join(parts)


def transaction_result(status: int, body: bytes, first: RowChange) -> str:
    """The new ETag of the first entity, empty if it was deleted; raises the `StoreError` that the answer states."""
    if status != 202:
        raise store_error(status, body)
    start = body.find(b"HTTP/1.1 ")
    if start < 0:
        raise AnswerLost("the answer to a transaction holds no sub-response")
    code = int(body[start + 9 : start + 12])
    if code >= 300:
        raise store_error(code, body)
    if isinstance(first, Delete):
        return ""
    etag = _ETAG.search(body, start)
    if etag is None:
        raise AnswerLost("the answer to a transaction holds no ETag")
    return etag[1].decode()


def store_error(status: int, body: bytes) -> StoreError:
    """What an error status means for the change that was attempted."""
    if status == 412:
        return PreconditionFailed()
    if status == 409 and b"EntityAlreadyExists" in body:
        return RowExists()
    if status == 404:
        return TableMissing() if b"TableNotFound" in body else RowMissing()
    if status in (400, 413):
        return Rejected(f"the table service answered {status}")
    return AnswerLost(f"the table service answered {status}")


def decode_page(body: bytes) -> Iterator[Row]:
    """The rows of a query's page, in the order of the service and as it writes them.

    Each is decoded when it is asked for: a page is larger than a processor's cache, one row after the other is not.
    """
    has_nulls = b":null" in body
    decode = _row_decoder.decode
    try:
        for entity in _page_decoder.decode(body).value:
            fields = decode(entity)
            yield Row(fields["RowKey"], _without_nulls(fields) if has_nulls else fields)
    except (msgspec.MsgspecError, KeyError) as error:
        raise AnswerLost("a page of the table service is malformed") from error


def decode_row(body: bytes, etag: str) -> Row:
    """One entity, as a point read answers it."""
    try:
        fields = _row_decoder.decode(body)
        return Row(fields["RowKey"], plain(_without_nulls(fields)), etag)
    except (msgspec.MsgspecError, KeyError, ValueError) as error:
        raise AnswerLost("an entity of the table service is malformed") from error


def plain(fields: Mapping[str, FieldValue]) -> Fields:
    """The fields of an entity as they were written: 64-bit numbers are numbers, and nothing is the service's own."""
    return {
        name: int(value) if name in INT64_FIELDS else value
        for name, value in fields.items()
        if name not in _SERVICE_FIELDS
    }


def _without_nulls(entity: dict[str, Any]) -> dict[str, Any]:
    """Leaves out properties that a service states to be absent; most services do so themselves."""
    return {name: value for name, value in entity.items() if value is not None}


def _operation(base_url: str, table: str, partition: str, change: RowChange, number: int) -> bytes:
    if isinstance(change, Delete):
        head = f"DELETE {base_url}/{entity_path(table, partition, change.key)} HTTP/1.1\r\nIf-Match: *\r\n"
        return f"{head}Content-ID: {number}\r\nAccept: application/json;odata=nometadata\r\n\r\n".encode()
    if isinstance(change, Merge):
        path = entity_path(table, partition, change.key)
        head = f"MERGE {base_url}/{path} HTTP/1.1\r\nIf-Match: {change.etag}\r\n"
    else:
        head = f"POST {base_url}/{table} HTTP/1.1\r\n"
    content = _entity(partition, change.key, change.fields)
    return b"%bContent-ID: %d\r\n%bContent-Length: %d\r\n\r\n%b" % (
        head.encode(),
        number,
        _JSON_HEADERS,
        len(content),
        content,
    )


def _entity(partition: str, key: str, fields: Fields) -> bytes:
    """ASCII only: emulators take U+2028 inside a batch for the end of a line."""
    entity: dict[str, FieldValue] = {"PartitionKey": partition, "RowKey": key}
    for name, value in fields.items():
        annotation = _INT64_ANNOTATIONS.get(name)
        if annotation is None:
            entity[name] = value
        else:
            entity[name] = str(value)
            entity[annotation] = "Edm.Int64"
    content = msgspec.json.encode(entity)
    return content if content.isascii() else json.dumps(entity, separators=(",", ":")).encode()
