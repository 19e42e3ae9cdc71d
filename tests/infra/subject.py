"""The template that the checks look at: its files, perhaps with a patch, and what it makes in each profile."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from tests.tools.bicep import ROOT, BicepFile, BicepSources, text_of
from tests.tools.bicep_evaluation import Template, evaluated

SITE: Final = "Microsoft.Web/sites"
OPENAI: Final = "Microsoft.CognitiveServices/accounts"
STORAGE: Final = "Microsoft.Storage/storageAccounts"
VAULT: Final = "Microsoft.KeyVault/vaults"
ROLE: Final = "Microsoft.Authorization/roleAssignments"
IDENTITY: Final = "Microsoft.ManagedIdentity/userAssignedIdentities"
ENDPOINT: Final = "Microsoft.Network/privateEndpoints"
MAIN: Final = "infra/main.bicep"
TEMPLATES: Final = (MAIN, "infra/policy/main.bicep", "infra/container-apps/main.bicep")
AZD_PARAMETERS: Final = "infra/main.parameters.json"
PROFILES: Final[Mapping[str, str]] = {
    "public": "AzureCloud",
    "private": "AzureCloud",
    "hub-and-spoke": "AzureCloud",
    "existing": "AzureCloud",
    "sovereign-us": "AzureUSGovernment",
    "sovereign-china": "AzureChinaCloud",
}
"""The cloud of each file of parameters in infra/profiles."""


class Subject:
    """The files of all templates, and the resources of each profile. A patch replaces the text of files."""

    def __init__(self, patched: Mapping[str, str] | None = None) -> None:
        self.sources = BicepSources(patched)

    @cached_property
    def files(self) -> list[BicepFile]:
        found = {file.path: file for template in TEMPLATES for file in self.sources.reachable(template)}
        return list(found.values())

    @cached_property
    def templates(self) -> dict[str, Template]:
        """The resources of each profile. Raises `EvaluationProblem`."""
        return {name: self.template(profile_parameters(self.sources, name), cloud) for name, cloud in PROFILES.items()}

    def template(self, parameters: Mapping[str, Any], cloud: str = "AzureCloud") -> Template:
        return evaluated(self.sources, MAIN, parameters, cloud=cloud)


def profile_parameters(sources: BicepSources, name: str) -> dict[str, Any]:
    return parameters_of(sources.text(f"infra/profiles/{name}.parameters.json"))


def parameters_of(text: str) -> dict[str, Any]:
    """Return the values of a file of parameters by name."""
    return {name: each["value"] for name, each in json.loads(text)["parameters"].items()}


def infrastructure_page() -> str:
    return (ROOT / "docs/reference/infrastructure.md").read_text()


def azd_values(subject: Subject, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters that azd gives. Like azd, take texts as numbers and flags, and drop empty ones of these."""
    main = subject.sources.file(MAIN)
    given = json.loads(_substituted(subject.sources.text(AZD_PARAMETERS), variables))["parameters"]
    found = {}
    for name, each in given.items():
        kind = text_of(main.parameters[name].type_node).rstrip("?") if name in main.parameters else ""
        value = each["value"]
        if value == "" and text_of(main.parameters[name].type_node).endswith("?"):
            continue
        if kind in ("bool", "int") and isinstance(value, str):
            if value:
                found[name] = value == "true" if kind == "bool" else int(value)
        else:
            found[name] = value
    return found


def _substituted(text: str, variables: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)(?:=([^}]*))?\}", lambda found: variables.get(found[1], found[2] or ""), text)
