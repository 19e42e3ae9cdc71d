"""One suite over every table store: over memory, and over Azurite through our own connections."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from local.azurite_server import ACCOUNT
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.on_disk.table_store import SqliteTableStore
from shared.adapters.tables.rest_store import RestTableStore, SharedKey
from shared.adapters.tables.store import TableStore
from tests.tools.stack import AzuriteAccount


@pytest.fixture(params=["memory", "disk", "azurite"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[TableStore]:
    if request.param == "memory":
        yield InMemoryTableStore()
        return
    if request.param == "disk":
        on_disk = SqliteTableStore()
        yield on_disk
        on_disk.close()
        return
    azurite: AzuriteAccount = request.getfixturevalue("azurite")
    over_http = RestTableStore(azurite.table_endpoint, SharedKey(ACCOUNT, azurite.key))
    yield over_http
    await over_http.aclose()


@pytest.fixture
def tenant() -> str:
    return f"t{secrets.token_hex(6)}"
