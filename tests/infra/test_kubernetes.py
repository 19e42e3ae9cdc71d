"""The manifests: valid for each version of Kubernetes, safe by themselves, and in line with the app and its image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from shared.setting_problems import SettingsInvalid
from shared.settings import Settings, read_settings
from tests.infra.test_container import DOCKERFILE, instructions
from tests.tools.stack import indexed_functions

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
FILES = [FOLDER / name for name in KUSTOMIZATION["resources"]]
VERSIONS = ("1.31", "1.33", kubernetes_validate.latest_version())
OF_THE_HOST = re.compile(r"AzureWebJobs.+|AzureFunctions(JobHost|WebHost)__.+")
WEBHOOK = {
    "AZURE_CLIENT_ID": "11111111-1111-1111-1111-111111111111",
    "AZURE_TENANT_ID": "22222222-2222-2222-2222-222222222222",
    "AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
    "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
}
"""The variables that the webhook of workload identity adds to a pod."""


def resources(kind: str = "") -> Iterator[dict[str, Any]]:
    for file in FILES:
        for resource in yaml.safe_load_all(file.read_text()):
            if kind in ("", resource["kind"]):
                yield resource


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in resources(kind) if each["metadata"]["name"] == name]
    return found


def pod_of(deployment: str) -> dict[str, Any]:
    pod: dict[str, Any] = named("Deployment", deployment)["spec"]["template"]
    return pod


def container_of(deployment: str) -> dict[str, Any]:
    (container,) = pod_of(deployment)["spec"]["containers"]
    return dict(container)


PARTS = ("gateway", "timers")
SETTINGS = named("ConfigMap", "gateway-settings")["data"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_valid(version: str) -> None:
    for resource in resources():
        kubernetes_validate.validate(resource, version, strict=True)
        assert resource["metadata"].get("namespace", "tallygate") == "tallygate"


def test_every_file_is_applied() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {"kustomization.yaml", *(file.name for file in FILES)}


def test_timers_are_off_in_the_http_part_and_only_there() -> None:
    _, timers = indexed_functions()
    switched_off = {each["name"]: each["value"] for each in container_of("gateway")["env"]}
    assert switched_off == {f"AzureWebJobs.{timer.name}.Disabled": "true" for timer in timers}
    assert "env" not in container_of("timers")


def test_timers_run_in_one_pod_that_ends_before_the_next_begins() -> None:
    spec = named("Deployment", "timers")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    targets = {each["spec"]["scaleTargetRef"]["name"] for each in resources("HorizontalPodAutoscaler")}
    assert targets == {"gateway"}
    assert "replicas" not in named("Deployment", "gateway")["spec"]


def test_only_the_http_part_is_served_and_reached() -> None:
    labels = pod_of("gateway")["metadata"]["labels"]
    service = named("Service", "gateway")["spec"]
    assert service["selector"].items() <= labels.items()
    assert not service["selector"].items() <= pod_of("timers")["metadata"]["labels"].items()
    assert service["ports"][0]["targetPort"] == container_of("gateway")["ports"][0]["name"]
    opened = [each for each in resources("NetworkPolicy") if each["spec"].get("ingress")]
    assert [each["spec"]["podSelector"]["matchLabels"].items() <= labels.items() for each in opened] == [True]
    component = opened[0]["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
    assert component == "gateway"


@pytest.mark.parametrize("part", PARTS)
def test_selectors_find_their_own_pods(part: str) -> None:
    deployment = named("Deployment", part)["spec"]
    assert deployment["selector"]["matchLabels"].items() <= pod_of(part)["metadata"]["labels"].items()
    for spread in pod_of(part)["spec"].get("topologySpreadConstraints", []):
        assert spread["labelSelector"] == deployment["selector"]
    if part == "gateway":
        assert named("PodDisruptionBudget", "gateway")["spec"]["selector"] == deployment["selector"]
        spread_over = [each["topologyKey"] for each in pod_of(part)["spec"]["topologySpreadConstraints"]]
        assert spread_over == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


@pytest.mark.parametrize("part", PARTS)
def test_a_pod_is_restricted_and_writes_only_to_a_folder_of_its_own(part: str) -> None:
    spec, container = pod_of(part)["spec"], container_of(part)
    user = int(dict(instructions(DOCKERFILE.read_text()))["USER"])
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, user)
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]
    assert spec["automountServiceAccountToken"] is False
    environment = dict(re.findall(r"(\w+)=(\S+)", dict(instructions(DOCKERFILE.read_text()))["ENV"]))
    assert environment["FUNCTIONS_SECRETS_PATH"].startswith("/tmp/")
    assert environment["HOME"] == "/tmp"


@pytest.mark.parametrize("part", PARTS)
def test_probes_ask_the_routes_of_health_at_the_port_of_the_image(part: str) -> None:
    http, _ = indexed_functions()
    container = container_of(part)
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert {path.removeprefix("/") for path in paths.values()} <= {function.route for function in http}


def test_a_pod_that_ends_lets_its_requests_finish() -> None:
    spec = pod_of("gateway")["spec"]
    name, seconds = container_of("gateway")["lifecycle"]["preStop"]["exec"]["command"]
    assert name == "sleep"
    assert Settings.model_fields["failover_timeout_seconds"].default < int(seconds)
    assert int(seconds) + 30 <= spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("part", PARTS)
def test_the_identity_is_that_of_the_service_account(part: str) -> None:
    pod = pod_of(part)
    assert pod["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    account = named("ServiceAccount", pod["spec"]["serviceAccountName"])
    assert "azure.workload.identity/client-id" in account["metadata"]["annotations"]
    assert list(resources("Role")) == list(resources("ClusterRole")) == []


def test_no_secret_is_in_the_manifests() -> None:
    assert list(resources("Secret")) == []
    for name in SETTINGS:
        assert re.search(r"(KEY|PASSWORD|TOKEN|CONNECTION)$|AccountKey", name) is None, name


def test_the_host_does_not_take_the_cluster_for_app_service_and_keeps_its_id() -> None:
    names = {*SETTINGS, *(each["name"] for each in container_of("gateway")["env"])}
    assert {name for name in names if name == "POD_NAMESPACE" or name.startswith(("WEBSITE_", "CONTAINER_"))} == set()
    assert 0 < len(SETTINGS["AzureFunctionsWebHost__hostid"]) <= 32
    assert not {"AzureWebJobsStorage", "AzureWebJobsStorage__credential"} & SETTINGS.keys()


def test_every_setting_is_known_to_the_gateway_or_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name.upper() for name in Settings.model_fields}
    assert {name for name in SETTINGS if name not in known and not OF_THE_HOST.fullmatch(name)} == set()
    for name, text in {**SETTINGS, **WEBHOOK}.items():
        monkeypatch.setenv(name, re.sub(r"YOUR-(\w+)-?(\w*)", r"\1\2", text).lower() if "://" in text else text)
    settings = read_settings()
    assert settings.azure_federated_token_file == WEBHOOK["AZURE_FEDERATED_TOKEN_FILE"]
    assert settings.use_managed_identity
    assert settings.trusted_proxy_hops == 1


def test_a_placeholder_that_is_left_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    client_id = named("ServiceAccount", "gateway")["metadata"]["annotations"]["azure.workload.identity/client-id"]
    for name, text in {**SETTINGS, **WEBHOOK, "AZURE_CLIENT_ID": client_id}.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(SettingsInvalid) as raised:
        read_settings()
    for name in ("TALLYGATE_TABLE_ENDPOINT", "TALLYGATE_BLOB_ENDPOINT", "AZURE_KEY_VAULT_URL", "AZURE_CLIENT_ID"):
        assert name in str(raised.value)


def test_nothing_goes_in_or_out_that_is_not_named() -> None:
    denied = named("NetworkPolicy", "deny-all")["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in resources("NetworkPolicy"):
        for rule in [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]:
            assert rule["ports"], policy["metadata"]["name"]
            assert rule.get("to") or rule.get("from")
    (block,) = [each["ipBlock"] for each in named("NetworkPolicy", "entra")["spec"]["egress"][0]["to"]]
    assert {"169.254.0.0/16", "168.63.129.16/32"} <= set(block["except"])  # the machine's own identity


def test_all_parts_run_one_image_that_is_named_by_its_digest() -> None:
    (image,) = KUSTOMIZATION["images"]
    assert {container_of(part)["image"] for part in PARTS} == {image["name"]}
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", image["digest"])
    assert "newTag" not in image
