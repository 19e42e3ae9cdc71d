"""Stands in for the Azure CLI: keeps resources in a file, records each command, and fails as `az` does.

`az` of a test is a script that starts this module with the path of the file. It knows the commands of
infra/scripts/private-endpoints.sh, and refuses any other.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

NOT_FOUND = 3
"""The status with which `az` ends if there is no such resource."""
SUFFIXES = {
    "AzureCloud": ("core.windows.net", ".vault.azure.net"),
    "AzureUSGovernment": ("core.usgovcloudapi.net", ".vault.usgovcloudapi.net"),
    "AzureChinaCloud": ("core.chinacloudapi.cn", ".vault.azure.cn"),
}
_NETWORK = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Network"


def options_of(arguments: list[str]) -> tuple[str, dict[str, str]]:
    """Return the command, and its options by name."""
    first = next((place for place, each in enumerate(arguments) if each.startswith("--")), len(arguments))
    options = arguments[first:]
    if len(options) % 2:
        raise SystemExit(f"an option has no value: {arguments}")
    return " ".join(arguments[:first]), dict(zip(options[::2], options[1::2], strict=True))


class Azure:
    """The resources of a subscription."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state

    def run(self, command: str, options: dict[str, str]) -> Any:
        """Run a command. Returns what it answers, or raises `KeyError` if a resource is missing."""
        name = command.replace(" ", "_").replace("-", "_")
        handler = getattr(self, f"_{name}", None)
        if handler is None:
            raise SystemExit(f"unknown command: az {command}")
        return handler(options)

    def _cloud_show(self, _: dict[str, str]) -> Any:
        cloud = self._state["cloud"]
        storage, vault = SUFFIXES[cloud]
        return {"name": cloud, "suffixes": {"storageEndpoint": storage, "keyvaultDns": vault}}

    def _network_private_dns_zone_show(self, options: dict[str, str]) -> Any:
        return self._state["zones"][self._zone(options, "--name")]

    def _network_private_dns_zone_create(self, options: dict[str, str]) -> Any:
        key = self._zone(options, "--name")
        self._state["zones"][key] = {"id": key, "links": {}}
        return None

    def _network_private_dns_link_vnet_list(self, options: dict[str, str]) -> Any:
        links = self._state["zones"][self._zone(options, "--zone-name")]["links"]
        return [{"name": name, "virtualNetwork": {"id": network}} for name, network in links.items()]

    def _network_private_dns_link_vnet_create(self, options: dict[str, str]) -> Any:
        links = self._state["zones"][self._zone(options, "--zone-name")]["links"]
        if options["--virtual-network"].lower() in map(str.lower, links.values()):
            raise SystemExit("(Conflict) A virtual network cannot be linked to a zone twice.")
        links[options["--name"]] = options["--virtual-network"]
        return None

    def _network_private_endpoint_show(self, options: dict[str, str]) -> Any:
        return self._state["endpoints"][options["--name"]]

    def _network_private_endpoint_create(self, options: dict[str, str]) -> Any:
        self._state["endpoints"][options["--name"]] = {"options": options, "zones": None}
        return None

    def _network_private_endpoint_dns_zone_group_show(self, options: dict[str, str]) -> Any:
        zones = self._state["endpoints"][options["--endpoint-name"]]["zones"]
        if zones is None:
            raise KeyError
        return {"privateDnsZoneConfigs": [{"name": name, "privateDnsZoneId": zone} for name, zone in zones.items()]}

    def _network_private_endpoint_dns_zone_group_create(self, options: dict[str, str]) -> Any:
        endpoint = self._state["endpoints"][options["--endpoint-name"]]
        if endpoint["zones"] is not None:
            raise SystemExit("the group of zones exists")
        endpoint["zones"] = {options["--zone-name"]: options["--private-dns-zone"]}
        return None

    def _network_private_endpoint_dns_zone_group_add(self, options: dict[str, str]) -> Any:
        endpoint = self._state["endpoints"][options["--endpoint-name"]]
        endpoint["zones"][options["--zone-name"]] = options["--private-dns-zone"]
        return None

    def _resource_update(self, options: dict[str, str]) -> Any:
        self._state["updates"][options["--ids"]] = options["--set"]
        return None

    def _zone(self, options: dict[str, str], name: str) -> str:
        base = _NETWORK.format(subscription=options.get("--subscription", "S"), group=options["--resource-group"])
        return f"{base}/privateDnsZones/{options[name]}"


def told(answer: Any, query: str) -> str:
    """Return an answer as `--output tsv` prints the part that a query selects: plain names, and `[]` for each."""
    found = [answer]
    for part in query.split("."):
        name, each, _ = part.partition("[]")
        if name:
            found = [value[name] for value in found]
        if each:
            found = [value for values in found for value in values]
    return "".join(f"{value}\n" for value in found)


def main(path: Path, arguments: list[str]) -> int:
    state = json.loads(path.read_text())
    state["calls"].append(arguments)
    try:
        if len(state["calls"]) == state["fails_at"]:
            sys.stderr.write("(ServerError) try again\n")
            return 1
        command, options = options_of(arguments)
        answer = Azure(state).run(command, options)
    except KeyError:
        sys.stderr.write("(ResourceNotFound) there is none\n")
        return NOT_FOUND
    finally:
        path.write_text(json.dumps(state))
    if options.get("--output") != "none":
        sys.stdout.write(told(answer, options["--query"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
