"""The ledger's table service over REST, without retries (ADR 4)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

from shared.adapters.clock import StorageClock
from shared.adapters.identity.credentials import TokenProvider
from shared.adapters.tables.connections import Answer, TableConnections
from shared.adapters.tables.entity_group import (
    decode_page,
    decode_row,
    encode_transaction,
    entity_path,
    inspect_page,
    store_error,
    transaction_result,
)
from shared.adapters.tables.store import AnswerLost, InspectedRow, Row, RowChange, RowMissing, TableMissing
from shared.domain.errors import StorageUnavailable

SERVICE_VERSION: Final = "2020-12-06"
"""https://learn.microsoft.com/rest/api/storageservices/versioning-for-the-azure-storage-services"""
TIMEOUT_SECONDS: Final = 3.0
STORAGE_SCOPE: Final = "https://storage.azure.com/.default"
"""The scope of tokens for tables and blobs, in every cloud."""
_HEADERS: Final = {
    "Accept": "application/json;odata=nometadata",
    "DataServiceVersion": "3.0;NetFx",
    "MaxDataServiceVersion": "3.0;NetFx",
    "x-ms-version": SERVICE_VERSION,
}

_TYPED_HEADERS: Final = {**_HEADERS, "Accept": "application/json;odata=minimalmetadata"}
"""With these, answers state the types that JSON does not show.

https://learn.microsoft.com/rest/api/storageservices/payload-format-for-table-service-operations
"""


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    """Return a time in seconds since 1970 as an RFC 9110 date."""
    return formatdate(second, usegmt=True)


class TableAuthorization(Protocol):
    """Authorizes requests to the table service."""

    async def headers(self, path: str) -> dict[str, str]:
        """Return the headers that authorize a request for `path` (without its query) now.

        Raises `StorageUnavailable` if the process's identity gives no token.
        """
        ...


class SharedKey:
    """Authorization by account key, for emulators and where a setting says so.

    https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key (Shared Key Lite for tables).
    """

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        self._key = base64.b64decode(key)

    async def headers(self, path: str) -> dict[str, str]:
        date = _date(int(time.time()))
        digest = hmac.digest(self._key, f"{date}\n/{self._account}{path}".encode(), hashlib.sha256)
        signature = base64.b64encode(digest).decode()
        return {"x-ms-date": date, "Authorization": f"SharedKeyLite {self._account}:{signature}"}

    def __repr__(self) -> str:
        return f"SharedKey(account={self._account!r}, key=***)"


class BearerToken:
    """Authorization by an Entra access token of the process's identity."""

    def __init__(self, tokens: TokenProvider) -> None:
        self._tokens = tokens

    async def headers(self, path: str) -> dict[str, str]:  # noqa: ARG002 - a token covers every path
        token = await self._tokens.token(STORAGE_SCOPE)
        return {"x-ms-date": _date(int(time.time())), "Authorization": f"Bearer {token}"}


class RestTableStore:
    """Implements `TableStore` against Azure Table Storage, the Cosmos DB Table API and Azurite."""

    def __init__(
        self,
        endpoint: str,
        authorization: TableAuthorization,
        timeout_seconds: float = TIMEOUT_SECONDS,
        clock: StorageClock | None = None,
    ) -> None:
        """`timeout_seconds` is the deadline of each request. `clock` learns the time of storage from each answer."""
        self._endpoint = endpoint.rstrip("/")
        self._base_path = urlsplit(self._endpoint).path
        self._authorization = authorization
        self._connections = TableConnections(self._endpoint, timeout_seconds)
        self._clock = clock
        self._known_tables: set[str] = set()

    async def create_table(self, table: str) -> None:
        # Tables that this process has seen are not created again, until a transaction finds one dropped.
        if table in self._known_tables:
            return
        body = b'{"TableName":"%b"}' % table.encode()
        answer = await self._send("POST", "Tables", body, "application/json")
        if answer.status not in (201, 204) and b"TableAlreadyExists" not in answer.body:
            raise AnswerLost(f"the table service answered {answer.status} to the creation of a table")
        self._known_tables.add(table)

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        answer = await self._send("GET", entity_path(table, partition, key))
        if answer.status == 200:
            return decode_row(answer.body, answer.headers.get(b"etag", b"").decode())
        error = store_error(answer.status, answer.body)
        if isinstance(error, RowMissing):
            return None
        # Any other status leaves open whether the row exists.
        raise error if isinstance(error, TableMissing) else AnswerLost(str(error))

    async def submit(self, table: str, partition: str, changes: Sequence[RowChange], commit_id: str) -> str:
        content_type, body = encode_transaction(self._endpoint, table, partition, changes, commit_id)
        answer = await self._send("POST", "$batch", body, content_type)
        try:
            return transaction_result(answer.status, answer.body, changes[0])
        except TableMissing:  # retention has dropped it
            self._known_tables.discard(table)
            raise

    async def scan(self, table: str, partition: str, first: str, last: str) -> AsyncIterator[Row]:
        condition = f"PartitionKey eq '{partition}' and RowKey ge '{first}' and RowKey lt '{last}'"
        async for body in self._pages(table, condition):
            for row in decode_page(body):  # the service answers at most 1,000 rows at once
                yield row

    async def inspect(self, table: str, partition: str, first: str, end: str = "") -> AsyncIterator[InspectedRow]:
        condition = f"PartitionKey eq '{_literal(partition)}' and RowKey ge '{_literal(first)}'"
        if end:
            condition += f" and RowKey lt '{_literal(end)}'"
        async for body in self._pages(table, condition, headers=_TYPED_HEADERS):
            for row in inspect_page(body):
                yield row

    async def partitions(self, table: str, first: str = "", end: str = "") -> AsyncIterator[str]:
        start, below = f"ge '{_literal(first)}'", f" and PartitionKey lt '{_literal(end)}'" if end else ""
        while True:  # the service has no list of partitions: skip from the first row of one to that of the next
            found = None
            async for body in self._pages(table, f"PartitionKey {start}{below}", "&$top=1&$select=PartitionKey"):
                found = next((row.key for row in decode_page(body, "PartitionKey")), None)
                if found is not None:
                    break
            if found is None:
                return
            yield found
            start = f"gt '{_literal(found)}'"

    async def _pages(
        self, table: str, condition: str, options: str = "", headers: Mapping[str, str] = _HEADERS
    ) -> AsyncIterator[bytes]:
        """Read the pages of a query; none if the table is missing. Raises `AnswerLost`."""
        query = f"?$filter={quote(condition, safe='')}{options}"
        continuation = ""
        while True:
            status, body, continuation = await self._page(table, query + continuation, headers)
            if status != 200:
                error = store_error(status, body)
                if isinstance(error, TableMissing):
                    return
                raise AnswerLost(str(error))
            yield body
            if not continuation:
                return

    async def _page(self, table: str, query: str, headers: Mapping[str, str]) -> tuple[int, bytes, str]:
        """Read one page. Returns its status, its body, and the query of the next page; empty after the last.

        A page may be empty and still have a next one.
        https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination
        """
        answer = await self._send("GET", f"{table}()", query=query, headers=headers)
        next_keys = (
            (name, answer.headers.get(f"x-ms-continuation-{name}".lower().encode(), b"").decode("latin-1"))
            for name in ("NextPartitionKey", "NextRowKey")
        )
        continuation = "".join(f"&{name}={quote(value, safe='')}" for name, value in next_keys if value)
        return answer.status, answer.body, continuation

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str | None = None,
        query: str = "",
        headers: Mapping[str, str] = _HEADERS,
    ) -> Answer:
        full_path = f"{self._base_path}/{path}"  # an emulator's path begins with the account, which is signed
        try:
            signed = await self._authorization.headers(full_path)
        except StorageUnavailable as error:  # nothing was sent, but as after a lost answer only a retry helps
            raise AnswerLost(type(error).__name__) from error
        sent = {**headers, **signed}
        if content_type is not None:
            sent["Content-Type"] = content_type
        sent_at = time.monotonic()
        answer = await self._connections.request(method, full_path + query, sent, body)
        if self._clock is not None:
            self._clock.observe(answer.headers.get(b"date", b""), time.monotonic() - sent_at)
        return answer

    async def aclose(self) -> None:
        """Close all idle connections."""
        await self._connections.aclose()


def _literal(text: str) -> str:
    """Return a text as it stands between the quotes of an OData literal."""
    return text.replace("'", "''")
