"""Residency decides where data may be processed, for every SKU, kind of region and policy."""

from __future__ import annotations

from itertools import product

import pytest

from shared.domain.errors import InvalidRequest
from shared.domain.routing.catalog import Backend, Catalog, Deployment
from shared.domain.routing.known_values import DATA_ZONES
from shared.domain.routing.residency import SKUS, Placement, Residency, checked_placement

SWEDEN, VIRGINIA, TOKYO = ("swedencentral", "eu"), ("eastus", "us"), ("japaneast", "")
REGIONAL, ZONAL, GLOBAL = (
    ("Standard", "ProvisionedManaged"),
    ("DataZoneStandard", "DataZoneProvisionedManaged"),
    ("GlobalStandard", "GlobalProvisionedManaged", "DeveloperTier"),
)
ANYWHERE, NOT_GLOBAL = Residency(), Residency(allow_global=False)
IN_EU, IN_EU_OR_GLOBAL = Residency(("eu",), allow_global=False), Residency(("eu",), allow_global=True)
IN_SWEDEN, IN_SWEDEN_OR_US = Residency(("swedencentral",), False), Residency(("swedencentral", "us"), False)
ALLOWED: dict[tuple[tuple[str, ...], tuple[str, str]], set[Residency]] = {
    (REGIONAL, SWEDEN): {ANYWHERE, NOT_GLOBAL, IN_EU, IN_EU_OR_GLOBAL, IN_SWEDEN, IN_SWEDEN_OR_US},
    (REGIONAL, VIRGINIA): {ANYWHERE, NOT_GLOBAL, IN_SWEDEN_OR_US},
    (REGIONAL, TOKYO): {ANYWHERE, NOT_GLOBAL},
    (ZONAL, SWEDEN): {ANYWHERE, NOT_GLOBAL, IN_EU, IN_EU_OR_GLOBAL},
    (ZONAL, VIRGINIA): {ANYWHERE, NOT_GLOBAL, IN_SWEDEN_OR_US},
    (GLOBAL, SWEDEN): {ANYWHERE, IN_EU_OR_GLOBAL},
    (GLOBAL, VIRGINIA): {ANYWHERE, IN_EU_OR_GLOBAL},
    (GLOBAL, TOKYO): {ANYWHERE, IN_EU_OR_GLOBAL},
    (("OnPremises",), ("berlin", "eu")): {ANYWHERE, NOT_GLOBAL, IN_EU, IN_EU_OR_GLOBAL},
    (("OnPremises",), ("swedencentral", "hq")): {ANYWHERE, NOT_GLOBAL},
    (("SomethingNew",), SWEDEN): {ANYWHERE, IN_EU_OR_GLOBAL},
}
POLICIES = (ANYWHERE, NOT_GLOBAL, IN_EU, IN_EU_OR_GLOBAL, IN_SWEDEN, IN_SWEDEN_OR_US)
TABLE = [
    (sku, place, policy, policy in allowed)
    for (skus, place), allowed in ALLOWED.items()
    for sku, policy in product(skus, POLICIES)
]


@pytest.mark.parametrize(("sku", "place", "policy", "is_allowed"), TABLE)
def test_residency_follows_from_sku_region_and_policy(
    sku: str, place: tuple[str, str], policy: Residency, is_allowed: bool
) -> None:
    objection = Placement(sku, *place).objection(policy)
    assert (objection is None) is is_allowed
    assert objection is None or sku in objection


def test_the_table_names_every_sku() -> None:
    assert {sku for sku, *_ in TABLE} == {*SKUS, "SomethingNew"}


@pytest.mark.parametrize(
    ("sku", "place"),
    [("Standard", "swedencentral"), ("DataZoneStandard", "eu"), ("GlobalStandard", "global"), ("OnPremises", "eu")],
)
def test_the_narrowest_certain_place_of_processing_is_stated(sku: str, place: str) -> None:
    assert Placement(sku, "swedencentral", "eu").processed_in == place


def test_the_zone_of_a_known_region_need_not_be_named() -> None:
    for zone, regions in DATA_ZONES.items():
        assert {checked_placement("DataZoneStandard", region, "").zone for region in regions} == {zone}
    assert checked_placement("Standard", "uaenorth", "").zone == ""
    assert checked_placement("Standard", "swedencentral", "nordics").zone == "nordics"


@pytest.mark.parametrize(
    ("sku", "region", "zone", "param"),
    [
        ("DataZoneStandard", "eastus", "eu", "zone"),
        ("Standard", "swedencentral", "us", "zone"),
        ("Standard", "uksouth", "eu", "zone"),
        ("Standard", "japaneast", "eu", "zone"),
        ("DataZoneStandard", "uaenorth", "", "zone"),
        ("OnPremises", "berlin", "", "zone"),
    ],
)
def test_an_impossible_placement_is_refused(sku: str, region: str, zone: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        checked_placement(sku, region, zone)
    assert refused.value.param == param


def backend(name: str, region: str = "swedencentral", zone: str = "eu", weight: int = 1) -> Backend:
    return Backend(
        backend_id=name,
        endpoint=f"https://{name}.invalid",
        upstream_deployment="d",
        model="m",
        region=region,
        zone=zone,
        weight=weight,
    )


CATALOG = Catalog(
    {
        "d": Deployment(name="d", backends=("a", "gone"), fallbacks=("e", "nowhere")),
        "e": Deployment(name="e", backends=("b", "a", "c"), fallbacks=("d",)),
        "empty": Deployment(name="empty", backends=("gone",)),
    },
    {each.backend_id: each for each in (backend("a"), backend("b"), backend("c", "eastus", "us"))},
)


def test_a_pool_is_the_deployments_own_backends_and_then_those_of_its_fallbacks() -> None:
    found = CATALOG.pool(CATALOG.deployments["d"])
    assert [(fallback_index, each.backend_id) for fallback_index, each in found] == [(0, "a"), (1, "b"), (1, "c")]
    assert [
        (fallback_index, each.backend_id) for fallback_index, each in CATALOG.pool(CATALOG.deployments["d"], ("c",))
    ] == [(0, "c")]


def test_a_tenant_that_can_never_be_served_is_reported_with_the_reason() -> None:
    d, empty = CATALOG.deployments["d"], CATALOG.deployments["empty"]
    assert CATALOG.obstacle(d, Residency(("us",), allow_global=False)) is None
    nowhere = CATALOG.obstacle(d, Residency(("jp",), allow_global=False))
    assert nowhere is not None
    assert "backend 'a': Standard in swedencentral" in nowhere
    assert "backend 'c': Standard in eastus" in nowhere
    assert CATALOG.obstacle(empty, ANYWHERE) == "no backend is configured"
    drained = Catalog({"d": d}, {"a": backend("a", weight=0)})
    assert drained.obstacle(d, ANYWHERE) == "every backend is drained"
