"""A new configuration is checked against all tenants, on every page of the list."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.routing.check_servable import check_catalog, check_tenant, users_of
from shared.domain.errors import InvalidRequest
from shared.domain.routing.catalog import Backend, Catalog, Deployment
from shared.domain.routing.residency import Residency
from shared.domain.tenancy.tenant import Tenant, TenantState
from tests.tools.events import told
from tests.tools.ledgers import NOW

BEFORE = Catalog(
    {"d": Deployment(name="d", backends=("a",))},
    {
        "a": Backend(
            backend_id="a",
            endpoint="https://a.invalid",
            upstream_deployment="d",
            model="m",
            region="swedencentral",
            zone="eu",
        )
    },
)
AFTER = replace(BEFORE, backends={"a": replace(BEFORE.backends["a"], region="eastus", zone="us")})
PICKY = Residency(("eu",), allow_global=False)


async def directory(*last: Tenant) -> DocumentTenants:
    """Return more tenants than a page has, with these at the end."""
    tenants = DocumentTenants(InMemoryDocuments())
    for number in range(500):
        await tenants.insert(Tenant(tenant_id=f"t{number:03}", name="", created_at=NOW, deployments=("d",)), told())
    for tenant in last:
        await tenants.insert(tenant, told())
    return tenants


async def test_every_tenant_is_checked() -> None:
    picky = Tenant(
        tenant_id="z", name="", created_at=NOW, deployments=("d", "none"), residency=PICKY, pools={"d": ("a",)}
    )
    tenants = await directory(picky)
    await check_catalog(BEFORE, BEFORE, tenants, "region")
    with pytest.raises(InvalidRequest, match="'z'"):
        await check_catalog(BEFORE, AFTER, tenants, "region")
    assert await users_of("a", BEFORE, tenants) == ["deployment 'd'", "tenant 'z'"]


async def test_closed_tenants_are_not_checked() -> None:
    gone = Tenant(
        tenant_id="z",
        name="",
        created_at=NOW,
        deployments=("d",),
        residency=PICKY,
        state=TenantState.CLOSED,
        pools={"d": ("a",)},
    )
    tenants = await directory(gone)
    await check_catalog(BEFORE, AFTER, tenants, "region")
    assert await users_of("a", Catalog(), tenants) == []


def test_a_tenant_names_only_deployments_that_exist_or_that_it_had() -> None:
    stored = Tenant(tenant_id="z", name="", created_at=NOW, deployments=("d", "gone"))
    check_tenant(replace(stored, deployments=("d",)), BEFORE)
    check_tenant(replace(stored, priority=2), BEFORE, stored)
    with pytest.raises(InvalidRequest, match=r"Not configured: 'gone'\.") as refused:
        check_tenant(stored, BEFORE)
    assert refused.value.param == "deployments"
    many = tuple(f"n{number}" for number in range(9))
    with pytest.raises(InvalidRequest, match="'n0', 'n1', 'n2', 'n3', 'n4' and 4 more"):
        check_tenant(replace(stored, deployments=("d", "gone", *many)), BEFORE, stored)
