"""The script of private endpoints makes what the Bicep makes, over an `az` that records its calls."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.tools import fake_az
from tests.tools.bicep import BicepSources
from tests.tools.bicep_evaluation import evaluated

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "infra" / "scripts" / "private-endpoints.sh"
GROUP = "/subscriptions/S/resourceGroups/rg"
NETWORK = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/vnet"
TARGETS = {
    "--books": f"{GROUP}/providers/Microsoft.Storage/storageAccounts/books",
    "--host": f"{GROUP}/providers/Microsoft.Storage/storageAccounts/host",
    "--vault": f"{GROUP}/providers/Microsoft.KeyVault/vaults/vault",
    "--openai": f"sweden={GROUP}/providers/Microsoft.CognitiveServices/accounts/sweden",
    "--app": f"{GROUP}/providers/Microsoft.Web/sites/app",
}
HUB = "/subscriptions/HUB/resourceGroups/rg-dns"
MAKES = ("create", "add", "update")


@dataclass
class Account:
    """A signed-in `az`, and the resources that it sees."""

    folder: Path

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return found

    def change(self, **fields: Any) -> None:
        (self.folder / "state.json").write_text(json.dumps({**self.state, **fields}))

    def run(self, *arguments: str, targets: dict[str, str] = TARGETS) -> subprocess.CompletedProcess[str]:
        given = [
            "--group",
            "rg",
            "--location",
            "swedencentral",
            "--network",
            NETWORK,
            "--subnet",
            f"{NETWORK}/subnets/pe",
        ]
        named = [part for pair in targets.items() for part in pair]
        return self.raw(*given, *named, *arguments)

    def raw(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.folder}:/usr/bin:/bin"}
        return subprocess.run([SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False)

    def made(self) -> list[list[str]]:
        """Return the calls that change something, and forget all calls."""
        calls = [call for call in self.state["calls"] if set(MAKES) & set(call)]
        self.change(calls=[])
        return calls

    def endpoints(self) -> dict[str, tuple[str, list[str]]]:
        """Return group id and zones of each endpoint, by its name."""
        found = {}
        for name, endpoint in self.state["endpoints"].items():
            zones = [zone.rpartition("/")[2] for zone in endpoint["zones"].values()]
            found[name] = (endpoint["options"]["--group-id"], sorted(zones))
        return found


@pytest.fixture
def account(tmp_path: Path) -> Account:
    az = tmp_path / "az"
    az.write_text(f'#!/bin/sh\nexec {sys.executable} -ES {fake_az.__file__} {tmp_path}/state.json "$@"\n')
    az.chmod(0o755)
    state = {"cloud": "AzureCloud", "zones": {}, "endpoints": {}, "updates": {}, "calls": [], "fails_at": 0}
    (tmp_path / "state.json").write_text(json.dumps(state))
    return Account(tmp_path)


def endpoints_of_the_template(cloud: str) -> dict[str, tuple[str, list[str]]]:
    """Return group id and zones of each private endpoint that infra/main.bicep makes."""
    parameters = {
        "environmentName": "test", "location": "swedencentral", "principalId": "p",
        "profile": "private" if cloud == "AzureCloud" else "sovereign",
        "openAiAccounts": [{"name": "sweden", "location": "swedencentral", "deployments": []}],
    }  # fmt: skip
    template = evaluated(BicepSources(), "infra/main.bicep", parameters, cloud=cloud)
    zones: dict[str, list[str]] = {}
    for each in template.of("Microsoft.Network/privateEndpoints/privateDnsZoneGroups"):
        configs = each.properties["privateDnsZoneConfigs"]
        endpoint = each.id.split("/privateEndpoints/")[1].split("/")[0]
        zones[endpoint] = sorted(config["properties"]["privateDnsZoneId"].rpartition("/")[2] for config in configs)
    found = {}
    for each in template.of("Microsoft.Network/privateEndpoints"):
        (connection,) = each.properties["privateLinkServiceConnections"]
        (group_id,) = connection["properties"]["groupIds"]
        found[each.name] = (group_id, zones[each.name])
    return found


@pytest.mark.parametrize("cloud", fake_az.SUFFIXES)
def test_endpoints_groups_and_zones_are_those_of_the_bicep(account: Account, cloud: str) -> None:
    account.change(cloud=cloud)
    ran = account.run()
    assert ran.returncode == 0, ran.stderr
    assert account.endpoints() == endpoints_of_the_template(cloud)
    for zone in account.state["zones"].values():
        assert zone["links"] == {"link-vnet": NETWORK}
    for name, endpoint in account.state["endpoints"].items():
        options = endpoint["options"]
        assert (options["--nic-name"], options["--connection-name"]) == (
            name.replace("pe-", "nic-", 1),
            options["--group-id"],
        )
        assert options["--private-connection-resource-id"] in {target.split("=")[-1] for target in TARGETS.values()}


def test_a_second_run_changes_nothing(account: Account) -> None:
    account.run()
    assert account.made()
    assert account.run().returncode == 0
    assert account.made() == []


def test_a_run_that_failed_on_its_way_is_completed_by_the_next(account: Account) -> None:
    targets = {"--openai": TARGETS["--openai"]}
    account.change(cloud="AzureUSGovernment")  # which has two zones of models
    account.run(targets=targets)
    complete, calls = {**account.state, "calls": []}, len(account.state["calls"])
    for place in range(1, calls + 1, 2):
        account.change(zones={}, endpoints={}, calls=[], fails_at=place)
        failed = account.run(targets=targets)
        assert (failed.returncode, "ServerError" in failed.stderr) == (1, True), place
        account.change(fails_at=0)
        assert account.run(targets=targets).returncode == 0
        account.change(calls=[])
        assert account.state == complete, place


def test_zones_of_a_hub_are_used_and_never_made(account: Account) -> None:
    zone = "privatelink.vaultcore.azure.net"
    key = f"{HUB}/providers/Microsoft.Network/privateDnsZones/{zone}"
    targets = {"--vault": TARGETS["--vault"]}
    missing = account.run("--zones-group", HUB, targets=targets)
    assert (missing.returncode, zone in missing.stderr) == (2, True)
    account.change(zones={key: {"id": key, "links": {"of-the-hub": NETWORK.upper()}}})
    assert account.run("--zones-group", HUB, targets=targets).returncode == 0
    assert account.state["zones"][key]["links"] == {"of-the-hub": NETWORK.upper()}  # linked already, in other letters
    assert account.state["endpoints"]["pe-vault-vault"]["zones"] == {zone.replace(".", "-"): key}


def test_public_access_is_switched_off_last_and_only_if_asked(account: Account) -> None:
    account.run()
    assert account.state["updates"] == {}
    account.made()
    account.run("--close")
    closed = [target.split("=")[-1] for name, target in TARGETS.items() if name != "--app"]
    assert account.state["updates"] == dict.fromkeys(closed, "properties.publicNetworkAccess=Disabled")
    account.change(endpoints={}, updates={}, calls=[], fails_at=len(account.state["calls"]) // 2)
    assert account.run("--close").returncode == 1
    assert account.state["updates"] == {}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "--group is missing"),
        (["--group"], "--group needs a value"),
        (["--group", ""], "--group needs a value"),
        (["--gruop", "rg"], "unknown option --gruop"),
        (["--group", "rg"], "--location is missing"),
        (["--group", "rg", "--location", "x", "--network", "vnet"], "--network must be a resource id"),
        (["--group", "rg", "--location", "x", "--network", NETWORK, "--subnet", NETWORK], "--subnet must be"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_asked(
    account: Account, arguments: list[str], problem: str
) -> None:
    ran = account.raw(*arguments)
    assert (ran.returncode, problem in ran.stderr) == (2, True), ran.stderr
    assert account.state["calls"] == []


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_of_another_kind_is_refused(account: Account, name: str) -> None:
    other = TARGETS["--vault" if name != "--vault" else "--books"]
    ran = account.run(targets={name: f"x={other}" if name == "--openai" else other})
    assert (ran.returncode, f"{name} must be a resource id" in ran.stderr) == (2, True), ran.stderr
    assert account.state["calls"] == []


def test_no_target_an_unnamed_account_and_an_unknown_cloud_are_refused(account: Account) -> None:
    assert "name at least one target" in account.run(targets={}).stderr
    assert "--openai must be NAME=ID" in account.run(targets={"--openai": TARGETS["--openai"].split("=")[1]}).stderr
    account.change(cloud="AzureGermanCloud")
    assert account.run().returncode != 0
    assert account.made() == []


def test_help_names_every_option(account: Account) -> None:
    told = account.raw("--help").stdout
    for name in (*TARGETS, "--group", "--location", "--network", "--subnet", "--zones-group", "--close"):
        assert f"  {name} " in told or f"  {name}\n" in told
