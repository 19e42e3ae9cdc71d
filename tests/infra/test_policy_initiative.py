"""The initiative refers to policies that exist, with effects that they allow; its template computes right values."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from shared.domain.routing.known_values import DATA_ZONES
from shared.domain.routing.residency import SKUS, Processing
from tests.infra.built_in_policies import BUILT_INS, DENIED, LOG_ANALYTICS_CONTRIBUTOR, NETWORK_CONTRIBUTOR
from tests.infra.policy_rules import Rule
from tests.infra.subject import PROFILES, Subject, profile_parameters
from tests.tools.bicep import BicepSources
from tests.tools.bicep_evaluation import Template, evaluated

FOLDER = Path(__file__).parents[2] / "infra" / "policy"
MAIN = "infra/policy/main.bicep"
SOURCES = BicepSources()
INITIATIVE = json.loads((FOLDER / "initiative.json").read_text())
CUSTOM = {path.stem: json.loads(path.read_text())["properties"] for path in (FOLDER / "definitions").glob("*.json")}
REFERENCES = INITIATIVE["builtIns"] + INITIATIVE["custom"]
ZONE_ID = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/dns/providers"
    "/Microsoft.Network/privateDnsZones/privatelink.openai.azure.com"
)
WORKSPACE_ID = ZONE_ID.replace("Microsoft.Network/privateDnsZones", "Microsoft.OperationalInsights/workspaces")


def effects_of(reference: dict[str, Any]) -> frozenset[str]:
    if built_in := BUILT_INS.get(reference["definition"]):
        return built_in.effects
    return frozenset(CUSTOM[reference["definition"]]["parameters"]["effect"]["allowedValues"])


def used_parameter(value: object) -> str | None:
    found = re.fullmatch(r"\[parameters\('(\w+)'\)\]", str(value))
    return found[1] if found else None


def effect_parameter(reference: dict[str, Any]) -> str:
    name = used_parameter(reference["parameters"]["effect"]["value"])
    assert name is not None
    return name


def deployed(**parameters: Any) -> Template:
    return evaluated(SOURCES, MAIN, {"location": "swedencentral", **parameters})


def values_in(template: Template) -> dict[str, Any]:
    """Return the values that an assignment gives to the parameters of the initiative."""
    (assignment,) = template.of("Microsoft.Authorization/policyAssignments")
    return {name: each["value"] for name, each in assignment.properties["parameters"].items()}


def assigned(**parameters: Any) -> dict[str, Any]:
    return values_in(deployed(**parameters))


def roles_in(template: Template) -> list[tuple[str, str]]:
    """Return the roles that are granted, each with its scope."""
    granted = template.of("Microsoft.Authorization/roleAssignments")
    return sorted((each.properties["roleDefinitionId"].rpartition("/")[2], each.scope_id) for each in granted)


@pytest.mark.parametrize("reference", INITIATIVE["builtIns"], ids=lambda each: str(each["id"]))
def test_a_built_in_is_known_and_its_version_is_of_the_stated_range(reference: dict[str, Any]) -> None:
    built_in = BUILT_INS[reference["definition"]]
    major, _, preview = built_in.version.partition(".")[0], "", built_in.version.partition("-")[2]
    assert reference["version"] == f"{major}.*.*" + (f"-{preview}" if preview else "")
    given = reference["parameters"].keys() - {"effect"}
    assert given <= built_in.parameters.keys()
    assert {name for name, is_required in built_in.parameters.items() if is_required} <= given


@pytest.mark.parametrize("reference", INITIATIVE["custom"], ids=lambda each: str(each["id"]))
def test_a_custom_policy_exists_and_gets_all_its_parameters(reference: dict[str, Any]) -> None:
    assert reference["parameters"].keys() == CUSTOM[reference["definition"]]["parameters"].keys()


def test_every_policy_is_in_the_initiative_once() -> None:
    used = [reference["definition"] for reference in REFERENCES]
    assert sorted(used) == sorted([*BUILT_INS, *CUSTOM])
    assert len({reference["id"] for reference in REFERENCES}) == len(REFERENCES)
    assert {reference["group"] for reference in REFERENCES} == {group["name"] for group in INITIATIVE["groups"]}


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda each: str(each["id"]))
def test_the_initiative_offers_only_effects_that_the_policy_allows(reference: dict[str, Any]) -> None:
    parameter = INITIATIVE["parameters"][effect_parameter(reference)]
    assert set(parameter["allowedValues"]) <= effects_of(reference)
    assert parameter["defaultValue"] in parameter["allowedValues"]


def test_every_parameter_of_the_initiative_is_used_described_and_assigned() -> None:
    used = {
        name
        for reference in REFERENCES
        for parameter in reference["parameters"].values()
        if (name := used_parameter(parameter["value"]))
    }
    assert used == INITIATIVE["parameters"].keys() == assigned().keys()
    assert all(parameter["metadata"]["description"] for parameter in INITIATIVE["parameters"].values())


def every_choice() -> list[dict[str, Any]]:
    choices: dict[str, tuple[Any, ...]] = {
        "enforcement": ("audit", "deny"),
        "zones": ([], ["eu"]),
        "processing": ("region", "dataZone", "anywhere"),
        "approvedModels": ([], ["gpt-4o"]),
        "requirePrivateNetwork": (True, False),
        "costCenterTag": ("cost-center", ""),
        "switchKeyAccessOff": (True, False),
        "inheritCostCenter": (True, False),
        "logAnalyticsWorkspaceId": ("", WORKSPACE_ID),
        "privateDnsZoneId": ("", ZONE_ID),
    }
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())][::7]


def test_no_choice_assigns_an_effect_that_a_policy_does_not_allow() -> None:
    for choice in every_choice():
        values = assigned(**choice)
        for reference in REFERENCES:
            assert values[effect_parameter(reference)] in effects_of(reference), (choice, reference["id"])


def test_by_default_the_initiative_only_reports() -> None:
    values = assigned()
    effects = {values[effect_parameter(reference)] for reference in REFERENCES}
    assert effects == {"Audit", "AuditIfNotExists", "Disabled"}


def test_denial_without_approved_models_or_locations_blocks_nothing() -> None:
    values = assigned(enforcement="deny", approvedModels=["", " "], approvedPublishers=[""])
    assert values["modelsEffect"] == values["locationsEffect"] == "Disabled"
    assert values["skusEffect"] == values["effect"] == "Deny"


def test_who_assigns_the_initiative_by_hand_denies_no_model_of_openai() -> None:
    parameters = INITIATIVE["parameters"]
    assert parameters["modelsEffect"]["defaultValue"] == "Disabled"
    assert parameters["approvedPublishers"]["defaultValue"] == ["OpenAI"]
    assert set(parameters["allowedSkus"]["defaultValue"]) == SKUS.keys() - {"OnPremises"}


def test_a_model_is_approved_by_its_whole_name() -> None:
    values = assigned(enforcement="deny", approvedModels=["gpt-4o", "", "/models/o3/versions/2"])
    asset = "azureml://registries/azure-openai/models/{}/versions/1"
    assert values["modelsEffect"] == "Deny"
    assert values["approvedModels"] == ["/models/gpt-4o/", "/models/o3/versions/2"]
    assert any(part in asset.format("gpt-4o") for part in values["approvedModels"])
    assert not any(part in asset.format("gpt-4o-mini") for part in values["approvedModels"])
    assert values["approvedPublishers"] == []


@pytest.mark.parametrize(
    ("processing", "areas"),
    [
        ("region", {Processing.REGION}),
        ("dataZone", {Processing.REGION, Processing.DATA_ZONE}),
        ("anywhere", {Processing.REGION, Processing.DATA_ZONE, Processing.ANYWHERE}),
    ],
)
def test_the_allowed_skus_are_those_of_the_products_own_table(processing: str, areas: set[Processing]) -> None:
    values = assigned(processing=processing)
    assert set(values["allowedSkus"]) == {sku for sku, area in SKUS.items() if area in areas}
    assert values["skusEffect"] == "Audit"


def test_more_skus_can_be_allowed() -> None:
    assert "GlobalBatch" in assigned(processing="region", additionalSkus=["GlobalBatch"])["allowedSkus"]


def test_the_allowed_locations_are_the_regions_of_the_allowed_zones() -> None:
    values = assigned(enforcement="deny", zones=["eu", "us"], additionalLocations=["uksouth"])
    assert set(values["listOfAllowedLocations"]) == DATA_ZONES["eu"] | DATA_ZONES["us"] | {"uksouth"}
    assert values["locationsEffect"] == "Deny"


@pytest.mark.parametrize("zone", DATA_ZONES)
def test_each_zone_has_the_regions_of_the_products_own_table(zone: str) -> None:
    assert set(assigned(zones=[zone])["listOfAllowedLocations"]) == DATA_ZONES[zone]


@pytest.mark.parametrize("groups", [[], ["rg-gateway"]])
def test_a_role_is_granted_only_for_a_remediation_that_is_active(groups: list[str]) -> None:
    for choice in every_choice():
        template = deployed(resourceGroupNames=groups, **choice)
        (assignment,) = template.of("Microsoft.Authorization/policyAssignments")
        values, scope = values_in(template), assignment.scope_id
        needed = {
            BUILT_INS[reference["definition"]].remediation_role
            for reference in INITIATIVE["builtIns"]
            if values[effect_parameter(reference)] in {"Modify", "DeployIfNotExists"}
        }
        if values["costCenterInheritance"] == "Modify":
            rule = CUSTOM["cost-center-tag-inherited"]["policyRule"]["then"]
            needed |= {role.rpartition("/")[2] for role in rule["details"]["roleDefinitionIds"]}
        wanted = [(role, scope) for role in needed if role]
        wanted += [(LOG_ANALYTICS_CONTRIBUTOR, WORKSPACE_ID)] if values["logAnalytics"] else []
        wanted += [(NETWORK_CONTRIBUTOR, ZONE_ID)] if values["privateDnsZoneId"] else []
        assert roles_in(template) == sorted(wanted), choice
        assert assignment.body["identity"]["type"] == ("SystemAssigned" if needed else "None")


def test_the_initiative_is_assigned_to_each_group_or_else_to_the_subscription() -> None:
    groups = deployed(resourceGroupNames=["first", "second"]).of("Microsoft.Authorization/policyAssignments")
    (whole,) = deployed().of("Microsoft.Authorization/policyAssignments")
    assert [each.scope_id for each in groups] == [
        f"{whole.scope_id}/resourceGroups/{name}" for name in ("first", "second")
    ]


def test_the_module_takes_each_parameter_of_the_initiative() -> None:
    text = (FOLDER / "assignment.bicep").read_text()
    declared = dict(re.findall(r"^  (\w+): (textValue|listValue)$", text, re.MULTILINE))
    kinds = {"String": "textValue", "Array": "listValue"}
    assert declared == {name: kinds[each["type"]] for name, each in INITIATIVE["parameters"].items()}


def test_every_definition_and_every_reference_is_deployed() -> None:
    template = deployed()
    definitions = {
        each.name.removeprefix("tallygate-"): {**each.properties}
        for each in template.of("Microsoft.Authorization/policyDefinitions")
    }
    assert definitions == CUSTOM
    (initiative,) = template.of("Microsoft.Authorization/policySetDefinitions")
    referred = {each["policyDefinitionReferenceId"]: each for each in initiative.properties["policyDefinitions"]}
    ids = {each.id for each in template.of("Microsoft.Authorization/policyDefinitions")}
    for reference in REFERENCES:
        made = referred[reference["id"]]
        assert made["parameters"] == reference["parameters"]
        assert made.get("definitionVersion") == reference.get("version")
        is_built_in = made["policyDefinitionId"].startswith("/providers/")
        assert is_built_in == (reference["definition"] in BUILT_INS)
        assert is_built_in or made["policyDefinitionId"] in ids
    assert len(referred) == len(REFERENCES)


LOCATIONS = "e56962a6-4747-49cd-b67b-bf8b01975c4c"
"""Allowed locations. The template names none, because its own location is its parameter."""


def denying_rule(reference: dict[str, Any], values: dict[str, Any]) -> Rule:
    """Return the rule of a reference with the values of an assignment."""
    condition = DENIED.get(reference["definition"]) or CUSTOM[reference["definition"]]["policyRule"]["if"]
    names = {name: used_parameter(each["value"]) for name, each in reference["parameters"].items()}
    return Rule(
        definition={"policyRule": {"if": condition, "then": {"effect": "Deny"}}},
        parameters={name: values[used] for name, used in names.items() if used},
    )


def denied(template: Template) -> list[str]:
    """Return the resources of the gateway's group that its assignment would refuse, each with the rule."""
    values = values_in(template)
    (assignment,) = template.of("Microsoft.Authorization/policyAssignments")
    inside = [each for each in template.resources if each.id.startswith(f"{assignment.scope_id}/")]
    found = []
    for reference in REFERENCES:
        if values[effect_parameter(reference)] == "Deny" and reference["definition"] != LOCATIONS:
            rule = denying_rule(reference, values)
            # Rules about tags look at resources that can have some.
            seen = [each for each in inside if "tags" in each.body or reference["group"] != "costCenters"]
            refused = [each for each in seen if rule.effect_on({**each.body, "type": each.type})]
            found += [f"{reference['id']}: {each.id}" for each in refused]
    return found


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("tags", [{}, {"cost-center": "CC-1"}])
def test_denial_refuses_nothing_that_the_template_of_the_gateway_makes(profile: str, tags: dict[str, str]) -> None:
    subject = Subject()
    given = {**profile_parameters(subject.sources, profile), "policyEnforcement": "deny", "tags": tags}
    assert denied(subject.template(given, PROFILES[profile])) == []


STRICTEST = ("Deny", "Modify", "DeployIfNotExists", "AuditIfNotExists", "Audit")


def test_the_page_lists_each_rule_with_its_strictest_effect() -> None:
    page = (FOLDER.parents[1] / "docs" / "reference" / "policies.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (built-in|custom)(?:, preview)? \| .* \| (\w+) \|$", page, re.MULTILINE)
    stated = {name: (kind, strictest) for name, kind, strictest in rows}
    assert stated == {
        reference["id"]: (
            "built-in" if reference["definition"] in BUILT_INS else "custom",
            next(effect for effect in STRICTEST if effect in effects_of(reference)),
        )
        for reference in REFERENCES
    }


def test_the_page_lists_each_parameter_of_the_template() -> None:
    page = (FOLDER.parents[1] / "docs" / "reference" / "policies.md").read_text()
    section = page.split("## Parameters")[1].split("## Rules")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(SOURCES.file(MAIN).parameters)
