"""One suite runs over every table store: in memory, in a file, and in Azurite through our own connections.

It also runs over a storage account or a Cosmos DB Table endpoint, if these are set:

    CONTRACT_TABLE_ENDPOINT   https://YOUR-ACCOUNT.table.core.windows.net
    CONTRACT_ACCOUNT_NAME     YOUR-ACCOUNT
    CONTRACT_ACCOUNT_KEY      its key; if empty, the identity that azure-identity finds on this machine
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

from local.azurite_server import ACCOUNT
from shared.adapters.identity.credentials import CachedTokens, developer_identity
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.on_disk.table_store import SqliteTableStore
from shared.adapters.tables.rest_store import BearerToken, RestTableStore, SharedKey
from shared.adapters.tables.store import InspectableStore

if TYPE_CHECKING:
    from tests.tools.stack import AzuriteAccount

ENDPOINT = os.environ.get("CONTRACT_TABLE_ENDPOINT", "")
STORES = ["memory", "disk", "azurite", *(["account"] if ENDPOINT else [])]


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[InspectableStore]:
    if request.param == "memory":
        yield InMemoryTableStore()
    elif request.param == "disk":
        on_disk = SqliteTableStore()
        yield on_disk
        on_disk.close()
    elif request.param == "azurite":
        azurite: AzuriteAccount = request.getfixturevalue("azurite")
        over_http = RestTableStore(azurite.table_endpoint, SharedKey(ACCOUNT, azurite.key))
        yield over_http
        await over_http.aclose()
    else:
        tokens = CachedTokens(partial(developer_identity, ""))
        name, key = os.environ.get("CONTRACT_ACCOUNT_NAME", ""), os.environ.get("CONTRACT_ACCOUNT_KEY", "")
        account = RestTableStore(ENDPOINT, SharedKey(name, key) if key else BearerToken(tokens))
        yield account
        await account.aclose()
        await tokens.close()


@pytest.fixture
def tenant() -> str:
    return f"t{secrets.token_hex(6)}"
