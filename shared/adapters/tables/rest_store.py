"""The ledger's table service over REST: one pooled aiohttp session, no retries of writes."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from email.utils import formatdate
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from shared.adapters.credentials import TokenProvider
from shared.adapters.tables.entity_group import (
    decode_page,
    decode_row,
    encode_transaction,
    entity_path,
    store_error,
    transaction_result,
)
from shared.adapters.tables.store import AnswerLost, Row, RowChange, RowMissing, TableMissing
from shared.domain.errors import StorageUnavailable

SERVICE_VERSION: Final = "2020-12-06"
TIMEOUT_SECONDS: Final = 3.0
_HEADERS: Final = {
    "Accept": "application/json;odata=nometadata",
    "DataServiceVersion": "3.0;NetFx",
    "MaxDataServiceVersion": "3.0;NetFx",
    "x-ms-version": SERVICE_VERSION,
}


class TableAuthorization(Protocol):
    """Signs requests to the table service."""

    async def headers(self, path: str) -> dict[str, str]:
        """The headers that authorize a request for `path` (without query) now."""
        ...


class SharedKey:
    """Account key authorization, for emulators and where a setting says so.

    https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key (Shared Key Lite for tables)
    """

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        self._key = base64.b64decode(key)

    async def headers(self, path: str) -> dict[str, str]:
        date = formatdate(usegmt=True)
        digest = hmac.digest(self._key, f"{date}\n/{self._account}{path}".encode(), hashlib.sha256)
        signature = base64.b64encode(digest).decode()
        return {"x-ms-date": date, "Authorization": f"SharedKeyLite {self._account}:{signature}"}

    def __repr__(self) -> str:
        return f"SharedKey(account={self._account!r}, key=***)"


class BearerToken:
    """Entra authorization with the process's one credential."""

    def __init__(self, tokens: TokenProvider) -> None:
        self._tokens = tokens

    async def headers(self, path: str) -> dict[str, str]:  # noqa: ARG002 - a token covers every path
        token = await self._tokens.token("https://storage.azure.com/.default")
        return {"x-ms-date": formatdate(usegmt=True), "Authorization": f"Bearer {token}"}


class RestTableStore:
    """Implements `TableStore` against Azure Table Storage, the Cosmos DB Table API and Azurite."""

    def __init__(
        self,
        endpoint: str,
        authorization: TableAuthorization,
        session: aiohttp.ClientSession,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._base_path = urlsplit(self._endpoint).path
        self._authorization = authorization
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._known_tables: set[str] = set()

    async def create_table(self, table: str) -> None:
        if table in self._known_tables:
            return
        body = b'{"TableName":"%b"}' % table.encode()
        status, _, answer = await self._send("POST", "Tables", body, {"Content-Type": "application/json"})
        if status not in (201, 204) and b"TableAlreadyExists" not in answer:
            raise AnswerLost(f"creating a table was answered {status}")
        self._known_tables.add(table)

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        status, etag, body = await self._send("GET", entity_path(table, partition, key))
        if status == 200:
            return decode_row(body, etag)
        error = store_error(status, body)
        if isinstance(error, RowMissing):
            return None
        raise error if isinstance(error, TableMissing) else AnswerLost(str(error))

    async def submit(self, table: str, partition: str, changes: Sequence[RowChange], commit_id: str) -> str:
        content_type, body = encode_transaction(self._endpoint, table, partition, changes, commit_id)
        status, _, answer = await self._send("POST", "$batch", body, {"Content-Type": content_type})
        return transaction_result(status, answer)

    async def scan(self, table: str, partition: str, first: str, last: str) -> AsyncIterator[Row]:
        condition = f"PartitionKey eq '{partition}' and RowKey ge '{first}' and RowKey lt '{last}'"
        query = f"?$filter={quote(condition, safe='')}"
        continuation = ""
        while True:
            status, body, continuation = await self._page(table, query + continuation)
            if status != 200:
                error = store_error(status, body)
                if isinstance(error, TableMissing):
                    return
                raise AnswerLost(str(error))
            for row in decode_page(body):
                yield row
            if not continuation:
                return

    async def _page(self, table: str, query: str) -> tuple[int, bytes, str]:
        """One page, which may be empty and still have a continuation."""
        path = f"{table}()"
        try:
            async with self._session.get(
                URL(f"{self._endpoint}/{path}{query}", encoded=True),
                headers=await self._headers(path),
                timeout=self._timeout,
            ) as response:
                next_keys = (
                    (name, response.headers.get(f"x-ms-continuation-{name}"))
                    for name in ("NextPartitionKey", "NextRowKey")
                )
                continuation = "".join(f"&{name}={quote(value, safe='')}" for name, value in next_keys if value)
                return response.status, await response.read(), continuation
        except (aiohttp.ClientError, TimeoutError, StorageUnavailable) as error:
            raise AnswerLost(type(error).__name__) from error

    async def _send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str, bytes]:
        try:
            async with self._session.request(
                method,
                URL(f"{self._endpoint}/{path}", encoded=True),
                data=body,
                headers={**await self._headers(path), **(headers or {})},
                timeout=self._timeout,
            ) as response:
                return response.status, response.headers.get("ETag", ""), await response.read()
        except (aiohttp.ClientError, TimeoutError, StorageUnavailable) as error:
            raise AnswerLost(type(error).__name__) from error

    async def _headers(self, path: str) -> dict[str, str]:
        return {**_HEADERS, **await self._authorization.headers(f"{self._base_path}/{path}")}
