"""The custom policies, evaluated against resources."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shared.domain.routing.residency import SKUS
from tests.infra.policy_rules import Rule

FOLDER = Path(__file__).parents[2] / "infra" / "policy" / "definitions"
PATHS = sorted(FOLDER.glob("*.json"))


def definition(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())["properties"]
    return loaded


def deployment(sku: str | None) -> dict[str, Any]:
    resource: dict[str, Any] = {"type": "Microsoft.CognitiveServices/accounts/deployments"}
    return resource | ({"sku": {"name": sku}} if sku else {})


@pytest.mark.parametrize(
    ("sku", "effect"),
    [
        ("Standard", None),
        ("datazonestandard", None),  # Azure compares without case
        ("GlobalStandard", "Deny"),
        ("GlobalBatch", "Deny"),  # nobody listed it
        (None, "Deny"),
    ],
)
def test_a_deployment_whose_sku_is_not_listed_is_denied(sku: str | None, effect: str | None) -> None:
    allowed = ["Standard", "ProvisionedManaged", "DataZoneStandard"]
    rule = Rule(definition=definition("deployment-skus"), parameters={"effect": "Deny", "allowedSkus": allowed})
    assert rule.effect_on(deployment(sku)) == effect


def test_the_skus_of_deployments_concern_no_other_resource() -> None:
    rule = Rule(definition=definition("deployment-skus"), parameters={"effect": "Deny", "allowedSkus": list(SKUS)})
    account = {"type": "Microsoft.CognitiveServices/accounts", "sku": {"name": "S0"}}
    assert rule.effect_on(account) is None


@pytest.mark.parametrize(
    ("tags", "effect"), [({"cost-center": "CC-1"}, None), ({"cost-center": ""}, "Audit"), ({"other": "x"}, "Audit")]
)
def test_a_resource_without_a_cost_center_is_reported(tags: dict[str, str], effect: str | None) -> None:
    rule = Rule(definition=definition("cost-center-tag"), parameters={"tagName": "cost-center"})
    assert rule.effect_on({"type": "Microsoft.Storage/storageAccounts", "tags": tags}) == effect


@pytest.mark.parametrize(
    ("tags", "group_tags", "effect"),
    [
        ({}, {"cost-center": "CC-1"}, "Modify"),
        ({"cost-center": "CC-2"}, {"cost-center": "CC-1"}, None),
        ({}, {}, None),  # there is nothing to inherit
    ],
)
def test_a_missing_cost_center_is_inherited_and_none_is_overwritten(
    tags: dict[str, str], group_tags: dict[str, str], effect: str | None
) -> None:
    parameters = {"tagName": "cost-center"}
    rule = Rule(definition=definition("cost-center-tag-inherited"), parameters=parameters, group_tags=group_tags)
    assert rule.effect_on({"type": "Microsoft.Storage/storageAccounts", "tags": tags}) == effect


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.stem))
def test_every_parameter_of_a_definition_is_described_and_used(path: Path) -> None:
    properties = json.loads(path.read_text())["properties"]
    used = set(re.findall(r"parameters\('(\w+)'\)", json.dumps(properties["policyRule"])))
    assert used == properties["parameters"].keys()
    for parameter in properties["parameters"].values():
        assert parameter["metadata"]["description"]
    effects = properties["parameters"]["effect"]
    assert effects["defaultValue"] in effects["allowedValues"]
    assert "Disabled" in effects["allowedValues"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.stem))
def test_a_definition_that_changes_resources_names_a_role_and_no_other_does(path: Path) -> None:
    properties = json.loads(path.read_text())["properties"]
    changes = "Modify" in properties["parameters"]["effect"]["allowedValues"]
    assert bool(properties["policyRule"]["then"].get("details", {}).get("roleDefinitionIds")) == changes
