"""One suite of the aliases of users over memory and Azurite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from shared.adapters.documents.pseudonyms import PSEUDONYMS_TABLE, DocumentPseudonyms
from shared.adapters.documents.store import Documents
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.tables.documents import TableDocuments
from shared.application.ports.pseudonyms import Pseudonyms
from shared.domain.errors import AlreadyExists, VersionConflict
from shared.domain.tenancy.pseudonyms import PseudonymState
from tests.contract.storage.conftest import table_service
from tests.tools.events import told
from tests.tools.stack import AzuriteAccount

ONE, TWO = PseudonymState("2026-11-01", 1), PseudonymState("2026-11-01", 2)
ANN, BOB = "a1" * 32, "b2" * 32


@pytest.fixture(params=["memory", "azurite"])
async def documents(request: pytest.FixtureRequest) -> AsyncIterator[Documents]:
    if request.param == "memory":
        yield InMemoryDocuments()
        return
    azurite: AzuriteAccount = request.getfixturevalue("azurite")
    async with table_service(azurite.table_endpoint, azurite.key) as service:
        yield TableDocuments(service)


@pytest.fixture
def pseudonyms(documents: Documents) -> Pseudonyms:
    return DocumentPseudonyms(documents)


@pytest.fixture
def tenant() -> str:
    return f"t-{uuid4()}"


async def test_an_alias_is_stored_once_and_with_the_state(pseudonyms: Pseudonyms, tenant: str) -> None:
    assert (await pseudonyms.state(tenant)).value == PseudonymState()
    assert await pseudonyms.alias(tenant, ANN) is None
    await pseudonyms.add(tenant, ANN, "u-1", "", ONE)
    first = await pseudonyms.state(tenant)
    assert first.value == ONE
    with pytest.raises(AlreadyExists):
        await pseudonyms.add(tenant, ANN, "u-2", first.etag, TWO)
    with pytest.raises(AlreadyExists):
        await pseudonyms.add(tenant, BOB, "u-2", "", TWO)
    await pseudonyms.add(tenant, BOB, "u-2", first.etag, TWO)
    with pytest.raises(VersionConflict):
        await pseudonyms.add(tenant, "c3" * 32, "u-3", first.etag, TWO)
    assert [await pseudonyms.alias(tenant, key) for key in (ANN, BOB, "c3" * 32)] == ["u-1", "u-2", None]
    assert await pseudonyms.alias(f"{tenant}-other", ANN) is None


async def test_an_erasure_is_whole_and_its_event_names_no_row(
    pseudonyms: Pseudonyms, documents: Documents, tenant: str
) -> None:
    await pseudonyms.add(tenant, ANN, "u-1", "", ONE)
    etag = (await pseudonyms.state(tenant)).etag
    for keys, version in (([ANN, BOB], etag), ([ANN], 'W/"nonsense"')):
        with pytest.raises(VersionConflict):
            await pseudonyms.erase(tenant, keys, version, ONE.with_erasure(), told())
    assert await pseudonyms.alias(tenant, ANN) == "u-1"
    await pseudonyms.erase(tenant, [ANN], etag, ONE.with_erasure(), told())
    assert await pseudonyms.alias(tenant, ANN) is None
    assert (await pseudonyms.state(tenant)).value == ONE.with_erasure()
    (event,) = [each for each in await documents.pending(PSEUDONYMS_TABLE, 1000) if each.partition == tenant]
    assert ANN not in event.text
    assert "u-1" not in event.text
    assert '"place":"","reason"' in event.text
