"""The template for Container Apps, evaluated: timers always have a replica, and each revision a storage account."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shared.settings import Settings
from tests.infra.test_container import DOCKERFILE, instructions
from tests.infra.test_kubernetes import OF_THE_HOST
from tests.tools.bicep import BicepSources
from tests.tools.bicep_evaluation import Template, evaluated
from tests.tools.stack import indexed_functions

ROOT = Path(__file__).resolve().parents[2]
PATH = "infra/container-apps/main.bicep"
EXAMPLE = json.loads((ROOT / "infra/container-apps/main.parameters.example.json").read_text())["parameters"]
SUBNET = "/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/v/subnets/apps"
OF_THE_WORKER = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "PYTHON_ENABLE_OPENTELEMETRY",
}  # fmt: skip


def deployed(cloud: str = "AzureCloud", **changes: Any) -> Template:
    parameters = {name: given["value"] for name, given in EXAMPLE.items()} | changes
    return evaluated(BicepSources(), PATH, parameters, cloud=cloud)


def app_of(template: Template) -> dict[str, Any]:
    (app,) = template.of("Microsoft.App/containerApps")
    return dict(app.body)


def container_of(template: Template) -> dict[str, Any]:
    (container,) = app_of(template)["properties"]["template"]["containers"]
    return dict(container)


def environment_of(template: Template) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container_of(template)["env"]}


def test_it_is_a_functions_app_with_ingress_and_a_replica_for_timers() -> None:
    app = app_of(deployed())
    assert app["kind"] == "functionapp"
    assert "functionAppConfig" not in app["properties"]
    ingress = app["properties"]["configuration"]["ingress"]
    assert (ingress["allowInsecure"], str(ingress["targetPort"])) == (
        False,
        dict(instructions(DOCKERFILE.read_text()))["EXPOSE"],
    )
    assert app["properties"]["template"]["scale"]["minReplicas"] >= 1
    assert "rules" not in app["properties"]["template"]["scale"]


def test_no_replica_at_all_is_refused() -> None:
    with pytest.raises(Exception, match="minimumReplicas"):
        deployed(minimumReplicas=0)


def test_each_of_two_revisions_has_a_storage_account_of_its_own() -> None:
    accounts = [
        {name: text for name, text in environment_of(deployed(hostAccount=colour)).items() if "ServiceUri" in name}
        for colour in ("blue", "green")
    ]
    assert len(accounts[0]) == 3
    assert not set(accounts[0].values()) & set(accounts[1].values())
    assert len(deployed().of("Microsoft.Storage/storageAccounts")) == 2


def test_every_setting_is_known_and_none_is_of_another_platform() -> None:
    names = environment_of(deployed(entraClientId="c", entraTenantIds="t")).keys()
    known = {name.upper() for name in Settings.model_fields} | OF_THE_WORKER
    assert {name for name in names if name not in known and not OF_THE_HOST.fullmatch(name)} == set()
    assert {"AzureWebJobsStorage", "POD_NAMESPACE", "FUNCTIONS_EXTENSION_VERSION"} & names == set()
    assert {"TALLYGATE_TABLE_ENDPOINT", "TALLYGATE_BLOB_ENDPOINT", "AUDIT_CHAIN_KEY_SECRET_NAME"} <= names


def test_what_is_left_out_is_no_empty_setting() -> None:
    optional = ("entraTenantIds", "entraClientId", "applicationInsightsConnection")
    assert set(optional) <= EXAMPLE.keys()
    least = environment_of(deployed(**dict.fromkeys(optional, "")))
    assert [name for name, value in least.items() if value == ""] == []
    assert least.keys() - OF_THE_WORKER < environment_of(deployed()).keys()


def test_the_guide_says_where_each_value_of_the_example_comes_from() -> None:
    guide = (ROOT / "docs/guide/hybrid.md").read_text()
    page = guide[guide.index("## Container Apps") : guide.index("## Models on your premises")]
    outputs = set(BicepSources().file("infra/main.bicep").outputs)
    told = {name for line in page.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line)}
    assert told & EXAMPLE.keys() == EXAMPLE.keys()
    assert {name for name in told if name.isupper()} <= outputs | {"AZURE_LOCATION", "ENTRA_TENANT_IDS"}


@pytest.mark.parametrize("cloud", ["AzureCloud", "AzureUSGovernment", "AzureChinaCloud"])
def test_a_sovereign_cloud_has_its_own_suffixes(cloud: str) -> None:
    suffixes = environment_of(deployed(cloud))["BACKEND_HOST_SUFFIXES"]
    assert suffixes == json.loads((ROOT / "infra/clouds.json").read_text())[cloud]["backendHostSuffixes"]


def test_probes_ask_the_routes_of_health() -> None:
    http, _ = indexed_functions()
    probes = {probe["type"]: probe["httpGet"]["path"] for probe in container_of(deployed())["probes"]}
    assert probes == {"Startup": "/healthz", "Liveness": "/healthz", "Readiness": "/readyz"}
    assert {path.removeprefix("/") for path in probes.values()} <= {function.route for function in http}


def test_in_a_network_nothing_is_public() -> None:
    template = deployed(subnetId=SUBNET)
    (environment,) = template.of("Microsoft.App/managedEnvironments")
    assert environment.properties["publicNetworkAccess"] == "Disabled"
    assert environment.properties["vnetConfiguration"] == {"infrastructureSubnetId": SUBNET, "internal": True}
    for account in template.of("Microsoft.Storage/storageAccounts"):
        assert account.properties["publicNetworkAccess"] == "Disabled"
        assert account.properties["allowSharedKeyAccess"] is False


def test_the_registry_and_the_app_use_the_gateways_identity() -> None:
    app = app_of(deployed())
    (registry,) = app["properties"]["configuration"]["registries"]
    assert registry["identity"] == EXAMPLE["identityId"]["value"]
    assert list(app["identity"]["userAssignedIdentities"]) == [EXAMPLE["identityId"]["value"]]
    assert "secrets" not in app["properties"]["configuration"]


def test_logs_go_to_the_workspace_without_its_key() -> None:
    (environment,) = deployed().of("Microsoft.App/managedEnvironments")
    assert environment.properties["appLogsConfiguration"] == {"destination": "azure-monitor"}
    sent = [each.properties["workspaceId"] for each in deployed().of("Microsoft.Insights/diagnosticSettings")]
    assert set(sent) == {EXAMPLE["workspaceId"]["value"]}
