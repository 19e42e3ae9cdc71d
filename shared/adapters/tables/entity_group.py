"""The wire format of entity group transactions, and of the rows that the table service answers.

https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions. Every request waits for
commits, and the SDK's batch costs over ten times the client CPU (bench/ measures both).
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
    InspectedRow,
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

_PART_HEADERS: Final = b"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
_JSON_HEADERS: Final = (
    b"Content-Type: application/json\r\nAccept: application/json;odata=nometadata\r\nPrefer: return-no-content\r\n"
)
SERVICE_FIELDS: Final = frozenset({"PartitionKey", "RowKey", "Timestamp", "odata.etag"})
_ETAG: Final = re.compile(rb"\r\nETag: ([^\r]+)\r\n", re.IGNORECASE)
_TYPE: Final = "@odata.type"
_INT64: Final = "Edm.Int64"
_INT64_ANNOTATIONS: Final = {name: f"{name}{_TYPE}" for name in INT64_FIELDS}


class _Page(msgspec.Struct):
    """One page of a query. Its entities stay JSON until each is asked for."""

    value: list[msgspec.Raw]


_page_decoder = msgspec.json.Decoder(_Page)
_row_decoder = msgspec.json.Decoder(dict)


def entity_path(table: str, partition: str, key: str) -> str:
    """Return the path of one entity, quoted. OData doubles a quote inside a key."""
    pk, rk = (quote(part.replace("'", "''"), safe="") for part in (partition, key))
    return f"{table}(PartitionKey='{pk}',RowKey='{rk}')"


def encode_transaction(
    base_url: str, table: str, partition: str, changes: Sequence[RowChange], commit_id: str
) -> tuple[str, bytes]:
    """Return the content type and body of one transaction.

    Equal arguments give equal bytes: the committer sends a transaction again only with the same bytes.
    """
    # The boundaries are made of the commit id and not of a random number, so that a repetition has the same.
    boundary = f"changeset_{commit_id}"
    separator = f"--{boundary}\r\n".encode()
    parts = [f"--batch_{commit_id}\r\nContent-Type: multipart/mixed; boundary={boundary}\r\n\r\n".encode()]
    for number, change in enumerate(changes):
        parts += (separator, _PART_HEADERS, _encode_change(base_url, table, partition, change, number), b"\r\n")
    parts.append(f"--{boundary}--\r\n--batch_{commit_id}--\r\n".encode())
    return f"multipart/mixed; boundary=batch_{commit_id}", b"".join(parts)


def transaction_result(status: int, body: bytes, first: RowChange) -> str:
    """Read the answer to a transaction. Returns the new ETag of the first entity; empty if that was deleted.

    Raises the `StoreError` that the answer states, and `AnswerLost` if it states none or was cut off.
    """
    if status != 202:
        raise store_error(status, body)
    # 202 says only that the batch was read. Its first sub-response tells the outcome: a failed batch has only one.
    start = body.find(b"HTTP/1.1 ")
    if start < 0:
        raise AnswerLost("the answer to a transaction has no sub-response")
    code = int(body[start + 9 : start + 12])
    if code >= 300:
        raise store_error(code, body)
    if isinstance(first, Delete):
        return ""
    etag = _ETAG.search(body, start)
    if etag is None:
        raise AnswerLost("the answer to a transaction has no ETag")
    return etag[1].decode()


def store_error(status: int, body: bytes) -> StoreError:
    """Return the error of a change that was answered with this status."""
    if status == 412:
        return PreconditionFailed()
    if status == 409 and b"EntityAlreadyExists" in body:  # others, like TableBeingDeleted, say nothing of the row
        return RowExists()
    if status == 404:
        return TableMissing() if b"TableNotFound" in body else RowMissing()
    if status in (400, 413):
        return Rejected(f"the table service answered {status}")
    # 401, 429, 5xx and the like do not prove that nothing was changed: a proxy may have answered.
    return AnswerLost(f"the table service answered {status}")


def decode_page(body: bytes, key: str = "RowKey") -> Iterator[Row]:
    """Read the rows of a query's page, in the service's order and with fields as it sends them.

    `key` is the property that becomes the row's key.
    Rows are decoded one by one, because a page of decoded rows does not fit a processor's cache.
    Raises `AnswerLost` if the page cannot be read.
    """
    has_nulls = b":null" in body
    decode = _row_decoder.decode
    try:
        for entity in _page_decoder.decode(body).value:
            fields = decode(entity)
            yield Row(fields[key], _without_nulls(fields) if has_nulls else fields)
    except (msgspec.MsgspecError, KeyError) as error:
        raise AnswerLost("a page of the table service is malformed") from error


def inspect_page(body: bytes) -> Iterator[InspectedRow]:
    """Read the rows of a query's page that states types, with all properties but the service's own.

    Raises `AnswerLost` if the page cannot be read.
    """
    try:
        for entity in _page_decoder.decode(body).value:
            yield _inspected(_row_decoder.decode(entity))
    except (msgspec.MsgspecError, KeyError, ValueError) as error:
        raise AnswerLost("a page of the table service is malformed") from error


def _inspected(entity: dict[str, Any]) -> InspectedRow:
    """Split an entity into values and types. The service states the types that JSON does not show."""
    fields: Fields = {}
    mistyped = []
    for name, value in entity.items():
        if value is None or name in SERVICE_FIELDS or name.endswith(_TYPE):
            continue
        stated = entity.get(f"{name}{_TYPE}")
        fields[name] = int(value) if stated == _INT64 else value
        # A text where a number belongs is a wrong value, which whoever reads the row finds.
        if stated != (_INT64 if name in INT64_FIELDS and fields[name].__class__ is int else None):
            mistyped.append(name)
    return InspectedRow(entity["RowKey"], fields, mistyped)


def decode_row(body: bytes, etag: str) -> Row:
    """Read the answer to a point read. Raises `AnswerLost` if it cannot be read."""
    try:
        fields = _row_decoder.decode(body)
        return Row(fields["RowKey"], decoded_fields(_without_nulls(fields)), etag)
    except (msgspec.MsgspecError, KeyError, ValueError) as error:
        raise AnswerLost("an entity of the table service is malformed") from error


def decoded_fields(fields: Mapping[str, FieldValue]) -> Fields:
    """Return fields as they were written, from fields as the service sends them.

    Converts 64-bit integers, which the service sends as text, and leaves out the service's own properties.
    """
    return {
        name: int(value) if name in INT64_FIELDS else value
        for name, value in fields.items()
        if name not in SERVICE_FIELDS
    }


def _without_nulls(entity: dict[str, Any]) -> dict[str, Any]:
    """Leave out properties that are `null`. Most services do so themselves."""
    return {name: value for name, value in entity.items() if value is not None}


def _encode_change(base_url: str, table: str, partition: str, change: RowChange, number: int) -> bytes:
    """Encode one change as the HTTP request inside its part of the batch."""
    if isinstance(change, Delete):  # any version: in a commit the ETag of the balance guards all rows
        head = f"DELETE {base_url}/{entity_path(table, partition, change.key)} HTTP/1.1\r\nIf-Match: *\r\n"
        return f"{head}Content-ID: {number}\r\nAccept: application/json;odata=nometadata\r\n\r\n".encode()
    if isinstance(change, Merge):  # PUT would remove the fields that are not named
        path = entity_path(table, partition, change.key)
        head = f"MERGE {base_url}/{path} HTTP/1.1\r\nIf-Match: {change.etag}\r\n"
    else:
        head = f"POST {base_url}/{table} HTTP/1.1\r\n"
    content = _encode_entity(partition, change.key, change.fields)
    return b"%bContent-ID: %d\r\n%bContent-Length: %d\r\n\r\n%b" % (
        head.encode(),
        number,
        _JSON_HEADERS,
        len(content),
        content,
    )


def _encode_entity(partition: str, key: str, fields: Fields) -> bytes:
    """Encode an entity as JSON, ASCII only: emulators read U+2028 inside a batch as the end of a line."""
    entity: dict[str, FieldValue] = {"PartitionKey": partition, "RowKey": key}
    for name, value in fields.items():
        annotation = _INT64_ANNOTATIONS.get(name)
        if annotation is None:
            entity[name] = value
        else:
            entity[name] = str(value)
            entity[annotation] = _INT64
    content = msgspec.json.encode(entity)
    return content if content.isascii() else json.dumps(entity, separators=(",", ":")).encode()
