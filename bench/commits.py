"""Client CPU and latency of one ledger commit: the SDK's own batch call, a bare HTTP post of the same bytes, ours."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import aiohttp
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables import EdmType, EntityProperty
from azure.data.tables.aio import TableServiceClient
from yarl import URL

from local.azurite_server import ACCOUNT
from shared.adapters.tables.entity_group import encode_transaction
from shared.adapters.tables.rest_store import RestTableStore, SharedKey
from shared.adapters.tables.rows import INT64_FIELDS
from shared.adapters.tables.store import Insert, Merge, RowChange
from shared.domain.stored_fields import Fields

COMMITS = 150
_TABLE = "benchcommits"
_BALANCE: Fields = {"head": "0" * 64, "used_tokens": 5, "used_pusd": 7}
_BALANCE.update({f"field{number}": number for number in range(12)})
_ENTRY: Fields = {
    "tokens": 12,
    "pusd": 10**10,
    "method": "sha256",
    "key_version": "0",
    "hash": "0" * 64,
    "mac": "0" * 64,
}
_ENTRY.update({f"text{number}": "some text" for number in range(14)})
Commit: TypeAlias = Callable[[], Awaitable[object]]


async def measure_commits(endpoint: str, account_key: str) -> list[str]:
    """The lines of the report."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        store = RestTableStore(endpoint, SharedKey(ACCOUNT, account_key))
        await store.create_table(_TABLE)
        credential = AzureNamedKeyCredential(ACCOUNT, account_key)
        async with TableServiceClient(endpoint, credential=credential, retry_total=0) as service:
            ours = await _measure(_rest_commits(store))
            sdk = await _measure(_sdk_commits(service, store))
            bare = await _measure(_bare_posts(endpoint, account_key, session, store))
    return [
        "\none commit: merge of the balance and two inserts, one transaction (client CPU; latency p50)",
        f"  REST commit path   {ours[0]:5.2f} ms CPU {ours[1]:6.1f} ms",
        f"  bare HTTP post     {bare[0]:5.2f} ms CPU {bare[1]:6.1f} ms   ours is {ours[0] / bare[0]:.2f} x this",
        f"  SDK batch          {sdk[0]:5.2f} ms CPU {sdk[1]:6.1f} ms   ours is 1/{sdk[0] / ours[0]:.1f} of this",
    ]


async def _measure(commits: AsyncIterator[Commit]) -> tuple[float, float]:
    latencies: list[float] = []
    cpu = 0.0
    async for commit in commits:
        before, started = time.process_time(), time.perf_counter()
        await commit()
        cpu += time.process_time() - before
        latencies.append((time.perf_counter() - started) * 1000)
    return cpu / len(latencies) * 1000, sorted(latencies)[len(latencies) // 2]


async def _rest_commits(store: RestTableStore) -> AsyncIterator[Commit]:
    partition = f"rest|{uuid.uuid4().hex}"
    etag = await store.submit(_TABLE, partition, [Insert("B", _BALANCE)], "open")

    async def commit(number: int) -> None:
        nonlocal etag
        etag = await store.submit(_TABLE, partition, _changes(etag, number), uuid.uuid4().hex[:16])

    for number in range(COMMITS):
        yield partial(commit, number)


async def _bare_posts(
    endpoint: str, account_key: str, session: aiohttp.ClientSession, store: RestTableStore
) -> AsyncIterator[Commit]:
    """The same bytes, made beforehand; only the post and the reading of the answer are measured."""
    partition = f"bare|{uuid.uuid4().hex}"
    await store.submit(_TABLE, partition, [Insert("B", _BALANCE)], "open")
    url = URL(f"{endpoint}/$batch", encoded=True)

    async def post(body: bytes, headers: dict[str, str]) -> None:
        async with session.post(url, data=body, headers=headers) as response:
            await response.read()

    for number in range(COMMITS):
        content_type, body = encode_transaction(
            endpoint, _TABLE, partition, _changes("*", number), uuid.uuid4().hex[:16]
        )
        signed = await SharedKey(ACCOUNT, account_key).headers(f"/{ACCOUNT}/$batch")
        headers = {"Content-Type": content_type, "x-ms-version": "2020-12-06", **signed}
        yield partial(post, body, headers)


async def _sdk_commits(service: TableServiceClient, store: RestTableStore) -> AsyncIterator[Commit]:
    partition = f"sdk|{uuid.uuid4().hex}"
    await store.submit(_TABLE, partition, [Insert("B", _BALANCE)], "open")
    client = service.get_table_client(_TABLE)

    def entity(key: str, fields: Fields) -> dict[str, object]:
        values = {
            name: EntityProperty(value, EdmType.INT64) if name in INT64_FIELDS else value
            for name, value in fields.items()
        }
        return {"PartitionKey": partition, "RowKey": key, **values}

    async def commit(number: int) -> None:
        operations: list[Any] = [("upsert", entity("B", _BALANCE), {"mode": "merge"})]
        inserts = (change for change in _changes("*", number) if isinstance(change, Insert))
        operations += [("create", entity(change.key, change.fields)) for change in inserts]
        await client.submit_transaction(operations)

    for number in range(COMMITS):
        yield partial(commit, number)


def _changes(etag: str, number: int) -> list[RowChange]:
    return [
        Merge("B", _BALANCE, etag),
        Insert(f"P|{number:08}", _ENTRY),
        Insert(f"E|{number:08}", _ENTRY),
    ]
