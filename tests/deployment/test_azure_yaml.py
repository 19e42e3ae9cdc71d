"""azure.yaml names hooks that exist, and the template takes and returns what they need."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.hooks import entra, parameters, recovery, secrets_of_vault, seed, steps
from tests.infra.subject import Subject, azd_values

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = yaml.safe_load((ROOT / "azure.yaml").read_text())
PARAMETERS = (ROOT / "infra" / "main.parameters.json").read_text()
TEMPLATE = (ROOT / "infra" / "main.bicep").read_text()
OF_AZD = {"AZURE_SUBSCRIPTION_ID", "AZURE_ENV_NAME"}


def test_up_provisions_and_then_deploys_the_package_that_was_built() -> None:
    assert PROJECT["workflows"]["up"]["steps"] == [
        {"azd": "provision"},
        {"azd": "deploy gateway --from-package dist/gateway.zip"},
    ]
    assert PROJECT["services"]["gateway"]["remoteBuild"] is False


@pytest.mark.parametrize(("system", "python"), [("posix", "python3"), ("windows", "python")])
def test_each_hook_runs_its_steps_on_every_system(system: str, python: str) -> None:
    run = {name: hook[system]["run"] for name, hook in PROJECT["hooks"].items()}
    assert run == {name: f"{python} -m infra.hooks {name}" for name in steps.STEPS}


def test_no_hook_goes_on_after_an_error() -> None:
    assert "continueOnError" not in (ROOT / "azure.yaml").read_text()


def test_what_hooks_set_is_a_parameter_of_the_template() -> None:
    hooks = "".join(inspect.getsource(module) for module in (entra, recovery))
    for name in ("ENTRA_CLIENT_ID", "ENTRA_TENANT_IDS", "RECOVER_KEY_VAULT", "DELETED_OPENAI_ACCOUNTS"):
        assert f'"{name}"' in hooks
        assert f"${{{name}=" in PARAMETERS


def test_what_hooks_read_is_an_output_of_the_template() -> None:
    read = set(re.findall(r'required\("(\w+)"\)', "".join(map(inspect.getsource, (secrets_of_vault, seed)))))
    outputs = set(re.findall(r"^output (\w+) ", TEMPLATE, re.MULTILINE))
    assert read - OF_AZD <= outputs
    assert {"AZURE_OPENAI_BACKENDS", "GATEWAY_IS_PRIVATE"} <= outputs


def test_no_secret_passes_through_the_parameters_of_azd() -> None:
    secure = re.findall(r"@secure\(\)\s+param (\w+)", TEMPLATE)
    assert secure
    assert [name for name in secure if name in json.loads(PARAMETERS)["parameters"]] == []


def test_the_app_looks_for_the_secrets_that_the_hook_writes() -> None:
    settings = "".join(path.read_text() for path in (ROOT / "infra").rglob("*.bicep"))
    assert [name for name in secrets_of_vault.NAMES if f"'{name}'" not in settings] == []


def guide() -> str:
    return (ROOT / "docs" / "guide" / "deploy.md").read_text()


def test_every_variable_that_the_guide_sets_is_read() -> None:
    hooks = "".join(path.read_text() for path in (ROOT / "infra" / "hooks").glob("*.py"))
    named = set(re.findall(r"azd env set ([A-Z_]+) ", guide())) - {"NAME"}
    assert len(named) > 8
    assert [name for name in named if f"${{{name}=" not in PARAMETERS and f'"{name}"' not in hooks] == []


def test_every_script_and_value_of_the_guide_exists() -> None:
    for script in set(re.findall(r"infra/scripts/[\w-]+\.sh", guide())):
        assert (ROOT / script).is_file()
    for name in re.findall(r"azd env\s+get-value\s+([A-Z_]+)", guide()):
        assert f"output {name} " in TEMPLATE
    for hook in re.findall(r"azd hooks run ([a-z]+)", guide()):
        assert hook in steps.STEPS


def test_the_guide_quotes_the_hooks_as_they_speak() -> None:
    hooks = "".join(path.read_text() for path in (ROOT / "infra" / "hooks").glob("*.py"))
    hooks += (ROOT / "local" / "package" / "__main__.py").read_text()
    table = guide()[guide().index("| it says |") : guide().index("## A private gateway")]
    for quoted in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE):
        words = max(re.split(r"\.\.\.|3\.13|503", quoted), key=len).strip()
        assert words in " ".join(re.sub(r'"\s+f?"', "", hooks).split()), quoted


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"GATEWAY_PROFILE": "private", "GATEWAY_IS_PUBLIC": "true", "GATEWAY_ALWAYS_READY": "3", "LOG_QUOTA_GB": "-1"},
        {
            "OPENAI_SECOND_REGION": "francecentral",
            "OPENAI_SKU": "Standard",
            "BUDGET_AMOUNT": "",
            "HUB_IS_PEERED": "true",
        },
    ],
)
def test_a_what_if_gets_the_parameters_of_azd(variables: dict[str, str]) -> None:
    given = {"AZURE_ENV_NAME": "trial", "AZURE_LOCATION": "swedencentral", **variables}
    found = parameters.parameter_file(given)["parameters"]
    wanted = {name: value for name, value in azd_values(Subject(), given).items() if value != ""}
    assert {name: each["value"] for name, each in found.items()} == wanted
