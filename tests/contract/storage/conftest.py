"""Documents in memory and in Azurite."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables.aio import TableServiceClient

from local.azurite_server import ACCOUNT
from shared.adapters.documents.store import Documents
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.tables.documents import TableDocuments
from tests.tools.stack import AzuriteAccount


def table_service(endpoint: str, key: str) -> TableServiceClient:
    credential = AzureNamedKeyCredential(ACCOUNT, key)
    return TableServiceClient(endpoint, credential=credential, retry_total=0)


@pytest.fixture(params=["memory", "azurite"])
async def documents(request: pytest.FixtureRequest) -> AsyncIterator[Documents]:
    if request.param == "memory":
        yield InMemoryDocuments()
        return
    azurite: AzuriteAccount = request.getfixturevalue("azurite")
    async with table_service(azurite.table_endpoint, azurite.key) as service:
        yield TableDocuments(service)


@pytest.fixture
def table() -> str:
    return f"t{secrets.token_hex(6)}"
