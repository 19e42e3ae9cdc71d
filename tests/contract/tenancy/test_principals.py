"""One suite of the index of principals over memory and Azurite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from shared.adapters.documents.principals import DocumentPrincipals
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.tables.documents import TableDocuments
from shared.application.ports.principals import PrincipalIndex
from shared.domain.tenancy.entra_principals import PrincipalKind, PrincipalName
from tests.contract.storage.conftest import table_service
from tests.tools.stack import AzuriteAccount

PERSON, APPLICATION, GROUP = PrincipalKind.PERSON, PrincipalKind.APPLICATION, PrincipalKind.GROUP


@pytest.fixture(params=["memory", "azurite"])
async def index(request: pytest.FixtureRequest) -> AsyncIterator[PrincipalIndex]:
    if request.param == "memory":
        yield DocumentPrincipals(InMemoryDocuments())
        return
    azurite: AzuriteAccount = request.getfixturevalue("azurite")
    async with table_service(azurite.table_endpoint, azurite.key) as service:
        yield DocumentPrincipals(TableDocuments(service))


@pytest.fixture
def directory() -> str:
    return str(uuid4())


async def test_nothing_is_found_before_the_first_row(index: PrincipalIndex, directory: str) -> None:
    assert await index.tenants_of(PrincipalName(directory, PERSON, "p")) == frozenset()
    assert await index.tenants_by_group(directory) == {}
    assert not any(name.directory_id == directory for names in (await index.rows()).values() for name in names)


async def test_a_principal_is_found_with_all_its_tenants(index: PrincipalIndex, directory: str) -> None:
    for kind in (PERSON, APPLICATION):
        name = PrincipalName(directory, kind, "x")
        for tenant in ("acme", "globex", "acme"):
            await index.put(name, tenant)
        assert await index.tenants_of(name) == {"acme", "globex"}
    assert await index.tenants_of(PrincipalName(directory, PERSON, "y")) == frozenset()
    assert await index.tenants_of(PrincipalName(str(uuid4()), PERSON, "x")) == frozenset()


async def test_all_groups_of_a_directory_are_found_together(index: PrincipalIndex, directory: str) -> None:
    await index.put(PrincipalName(directory, GROUP, "g"), "acme")
    await index.put(PrincipalName(directory, GROUP, "g"), "globex")
    await index.put(PrincipalName(directory, GROUP, "h"), "acme")
    await index.put(PrincipalName(directory, PERSON, "g"), "initech")
    await index.put(PrincipalName(str(uuid4()), GROUP, "g"), "initech")
    assert await index.tenants_by_group(directory) == {"g": {"acme", "globex"}, "h": {"acme"}}


async def test_a_removed_row_is_found_no_more_and_its_neighbours_are(index: PrincipalIndex, directory: str) -> None:
    for kind in PrincipalKind:
        for tenant in ("acme", "globex"):
            await index.put(PrincipalName(directory, kind, "x"), tenant)
        for _ in range(2):
            await index.remove(PrincipalName(directory, kind, "x"), "acme")
    assert await index.tenants_of(PrincipalName(directory, PERSON, "x")) == {"globex"}
    assert await index.tenants_by_group(directory) == {"x": {"globex"}}


async def test_all_rows_are_listed_by_tenant(index: PrincipalIndex, directory: str) -> None:
    names = {PrincipalName(directory, kind, id_) for kind in PrincipalKind for id_ in ("x", "y")}
    tenant = f"t-{directory}"
    for name in names:
        await index.put(name, tenant)
    assert (await index.rows())[tenant] == names
