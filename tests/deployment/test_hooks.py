"""Hooks before and after a provision: they make what is missing, once, and can be killed at any step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.hooks.entra import AZURE_CLI, ROLES, SCOPE
from infra.hooks.secrets_of_vault import NAMES
from shared.domain.identity.role import OPERATOR_ROLES, Role
from shared.setting_rules import admin_key_problem
from tests.tools.fake_azure import DIRECTORY, SUBSCRIPTION, FakeAzure

ROOT = Path(__file__).resolve().parents[2]
UNIQUE_NAME = f"tallygate-{SUBSCRIPTION}-trial"


@pytest.fixture
def azure(tmp_path: Path) -> FakeAzure:
    return FakeAzure.make(tmp_path / "azure")


def run_hook(azure: FakeAzure, name: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a hook as azure.yaml does."""
    command = [sys.executable, "-B", "-m", "infra.hooks", name]
    environment = azure.environment(**variables)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def succeed(azure: FakeAzure, name: str, **variables: str) -> str:
    ended = run_hook(azure, name, **variables)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def fail(azure: FakeAzure, name: str, **variables: str) -> str:
    ended = run_hook(azure, name, **variables)
    assert (ended.returncode, ended.stdout.count("Traceback"), ended.stderr.count("Traceback")) == (1, 0, 0)
    return ended.stderr


def the_application(azure: FakeAzure) -> dict[str, Any]:
    (application,) = azure.state["applications"].values()
    assert isinstance(application, dict)
    return application


def test_the_first_provision_makes_the_application_with_audience_roles_and_scope(azure: FakeAzure) -> None:
    succeed(azure, "preprovision")
    application = the_application(azure)
    client_id = application["appId"]
    assert application["uniqueName"] == UNIQUE_NAME
    assert application["identifierUris"] == [f"api://{client_id}"]
    assert {each["value"] for each in application["appRoles"]} == {str(each) for each in (*OPERATOR_ROLES, Role.USE)}
    assert application["api"]["requestedAccessTokenVersion"] == 2
    assert [each["value"] for each in application["api"]["oauth2PermissionScopes"]] == ["user_impersonation"]
    assert [each["appId"] for each in application["api"]["preAuthorizedApplications"]] == [AZURE_CLI]
    assert list(azure.state["principals"]) == [client_id]
    (assigned,) = azure.state["assignments"]
    assert assigned["appRoleId"] == next(each["id"] for each in ROLES if each["value"] == "Gateway.Admin")
    assert azure.variables == {
        "ENTRA_CLIENT_ID": client_id,
        "ENTRA_TENANT_IDS": DIRECTORY,
        "RECOVER_KEY_VAULT": "false",
        "DELETED_OPENAI_ACCOUNTS": "",
    }


def test_a_second_provision_writes_nothing(azure: FakeAzure) -> None:
    succeed(azure, "preprovision")
    before = azure.state
    azure.forget_calls()
    succeed(azure, "preprovision")
    assert (azure.writes, azure.state) == ([], before)


def test_another_machine_finds_the_application_again(azure: FakeAzure) -> None:
    succeed(azure, "preprovision")
    client_id = azure.variables["ENTRA_CLIENT_ID"]
    azure.change(values={})
    azure.forget_calls()
    succeed(azure, "preprovision")
    assert (azure.writes, azure.variables["ENTRA_CLIENT_ID"]) == ([], client_id)


@pytest.mark.parametrize("hook", ["preprovision", "postprovision"])
def test_a_hook_that_is_killed_after_any_step_is_completed_by_the_next_run(tmp_path: Path, hook: str) -> None:
    whole = FakeAzure.make(tmp_path / "whole")
    succeed(whole, hook)
    steps = len(whole.calls)
    assert steps > 3
    for step in range(1, steps + 1):
        azure = FakeAzure.make(tmp_path / str(step))
        azure.change(kill_after=step)
        assert run_hook(azure, hook).returncode == -9
        azure.change(kill_after=None)
        written = dict(azure.state["secrets"])
        succeed(azure, hook)
        assert _shape(azure) == _shape(whole)
        assert written.items() <= azure.state["secrets"].items()


def _shape(azure: FakeAzure) -> Any:
    """Return what was made, without what is random."""
    state = azure.state
    applications = [
        {name: value for name, value in each.items() if name not in ("id", "appId", "identifierUris")}
        for each in state["applications"].values()
    ]
    return applications, len(state["principals"]), len(state["assignments"]), sorted(state["secrets"]), sorted(
        state["values"]
    )  # fmt: skip


def test_roles_and_scopes_that_others_added_stay(azure: FakeAzure) -> None:
    succeed(azure, "preprovision")
    application = the_application(azure)
    added = {"id": "a" * 8, "value": "Own.Role", "origin": "Application"}
    application["appRoles"] = [added, {**application["appRoles"][0], "origin": "Application"}]
    application["api"]["knownClientApplications"] = ["x"]
    application["identifierUris"] = ["https://gateway.contoso.com"]
    azure.change(applications={application["id"]: application})
    assert "completed" in succeed(azure, "preprovision")
    completed = the_application(azure)
    assert {each["value"] for each in completed["appRoles"]} == {"Own.Role", *(each["value"] for each in ROLES)}
    assert completed["api"]["knownClientApplications"] == ["x"]
    assert completed["identifierUris"] == ["https://gateway.contoso.com", f"api://{completed['appId']}"]


def test_an_application_of_somebody_else_with_our_unique_name_is_left_alone(azure: FakeAzure) -> None:
    foreign = {"id": "1", "appId": "their-id", "uniqueName": UNIQUE_NAME, "tags": ["theirs"]}
    azure.change(applications={"1": foreign})
    assert "somebody else made it" in fail(azure, "preprovision")
    assert (azure.writes, the_application(azure), azure.variables) == ([], foreign, {})


def test_an_application_with_the_same_display_name_is_not_taken(azure: FakeAzure) -> None:
    foreign = {"id": "1", "appId": "their-id", "uniqueName": None, "displayName": "Tallygate trial"}
    azure.change(applications={"1": foreign})
    succeed(azure, "preprovision")
    assert azure.state["applications"]["1"] == foreign
    assert len(azure.state["applications"]) == 2


def test_an_application_that_the_operator_names_is_used_and_not_changed(azure: FakeAzure) -> None:
    own = {"id": "1", "appId": "own-id", "uniqueName": None, "appRoles": [{"value": "Gateway.Admin"}]}
    azure.change(applications={"1": own})
    told = succeed(azure, "preprovision", ENTRA_CLIENT_ID="own-id")
    assert "lacks the app roles Gateway.Billing.Read, Gateway.Audit.Read, Gateway.Use" in told
    assert (azure.writes, the_application(azure)) == ([], own)


def test_a_named_application_that_does_not_exist_is_told(azure: FakeAzure) -> None:
    assert "this directory does not have" in fail(azure, "preprovision", ENTRA_CLIENT_ID="gone")
    assert azure.writes == []


def test_without_the_right_to_make_applications_it_says_who_can(azure: FakeAzure) -> None:
    azure.change(denied=["applications"])
    told = fail(azure, "preprovision")
    assert "Application Developer" in told
    assert "ENTRA_SIGN_IN false" in told


def test_a_pipeline_that_may_not_read_the_directory_uses_the_stated_application(azure: FakeAzure) -> None:
    azure.change(denied=["graph.microsoft.com"], user_type="servicePrincipal")
    assert "could not be checked" in succeed(azure, "preprovision", ENTRA_CLIENT_ID="known")
    assert azure.variables["RECOVER_KEY_VAULT"] == "false"


def test_a_pipeline_gets_no_role_of_an_administrator(azure: FakeAzure) -> None:
    azure.change(user_type="servicePrincipal")
    succeed(azure, "preprovision")
    assert azure.state["assignments"] == []


def test_a_person_who_may_not_assign_roles_is_told_whom_to_ask(azure: FakeAzure) -> None:
    azure.change(denied=["appRoleAssignedTo"])
    assert "Ask an administrator" in succeed(azure, "preprovision")
    assert azure.variables["ENTRA_CLIENT_ID"]


def test_an_application_that_is_not_yet_known_everywhere_is_tried_again(azure: FakeAzure) -> None:
    azure.change(unavailable={"--method POST": 2})
    succeed(azure, "preprovision")
    assert len(azure.state["principals"]) == 1
    azure.change(unavailable={"--method POST": 99}, principals={})
    assert "NoBackingApplicationObject" in fail(azure, "preprovision")


def test_entra_can_be_left_out(azure: FakeAzure) -> None:
    succeed(azure, "preprovision", ENTRA_SIGN_IN="false", ENTRA_CLIENT_ID="old")
    assert azure.state["applications"] == {}
    assert azure.variables["ENTRA_CLIENT_ID"] == ""


def test_a_list_of_directories_that_is_stated_stays(azure: FakeAzure) -> None:
    succeed(azure, "preprovision", ENTRA_TENANT_IDS="one,two")
    assert "ENTRA_TENANT_IDS" not in azure.variables


def test_what_was_deleted_earlier_is_recovered_and_only_then(azure: FakeAzure) -> None:
    ours, others = {"tags": {"azd-env-name": "trial"}}, {"tags": {"azd-env-name": "other"}}
    azure.change(
        deleted_vaults=[{"name": "kv-other", "properties": others}, {"name": "kv-tg", "properties": ours}],
        deleted_accounts=[
            {"name": "oai-other", **others},
            {"name": "oai-1", "properties": {}, **ours},
            {"name": "oai-2", **ours},
        ],
    )
    assert "recovered now: kv-tg" in succeed(azure, "preprovision")
    assert (azure.variables["RECOVER_KEY_VAULT"], azure.variables["DELETED_OPENAI_ACCOUNTS"]) == ("true", "oai-1,oai-2")
    azure.change(deleted_vaults=[], deleted_accounts=[])
    succeed(azure, "preprovision")
    assert (azure.variables["RECOVER_KEY_VAULT"], azure.variables["DELETED_OPENAI_ACCOUNTS"]) == ("false", "")


def test_secrets_are_written_at_the_first_provision_and_never_again(azure: FakeAzure) -> None:
    succeed(azure, "postprovision")
    first = azure.state["secrets"]
    assert sorted(first) == sorted(NAMES)
    assert len(set(first.values())) == len(NAMES)
    assert [admin_key_problem(value) for value in first.values()] == [None] * len(NAMES)
    azure.forget_calls()
    assert "all secrets are there" in succeed(azure, "postprovision")
    assert (azure.writes, azure.state["secrets"]) == ([], first)
    assert [each["sent"] for each in azure.calls] == [""] * len(azure.calls)


def test_only_the_secret_that_is_missing_is_written(azure: FakeAzure) -> None:
    azure.change(secrets={"tallygate-chain-key": "kept", "azure-openai-api-key": "kept too"})
    succeed(azure, "postprovision")
    secrets = azure.state["secrets"]
    assert (secrets["tallygate-chain-key"], secrets["azure-openai-api-key"]) == ("kept", "kept too")
    assert len(azure.writes) == 2


def test_no_secret_is_printed_put_into_arguments_or_left_in_the_environment_of_azd(azure: FakeAzure) -> None:
    told = [succeed(azure, hook) for hook in ("preprovision", "postprovision", "preprovision", "postprovision")]
    seen = json.dumps([told, azure.commands, azure.variables])
    assert [value for value in azure.state["secrets"].values() if value in seen] == []
    files = [file for file in azure.folder.parent.rglob("*") if file.is_file() and file.parent != azure.folder]
    for value in azure.state["secrets"].values():
        assert [file for file in files if value.encode() in file.read_bytes()] == []


def test_a_deleted_secret_is_not_replaced(azure: FakeAzure) -> None:
    azure.change(deleted_secrets=["tallygate-chain-key"])
    told = fail(azure, "postprovision")
    assert "az keyvault secret recover --vault-name kv-tg --name tallygate-chain-key" in told
    assert "tallygate-chain-key" not in azure.state["secrets"]


def test_a_provision_without_the_right_to_write_secrets_fails(azure: FakeAzure) -> None:
    azure.change(denied=["--method PUT"])
    assert "Forbidden" in fail(azure, "postprovision")


@pytest.mark.parametrize("hook", ["preprovision", "postprovision", "postdeploy"])
def test_a_missing_program_is_named(tmp_path: Path, hook: str) -> None:
    azure = FakeAzure.make(tmp_path / "azure", programs=())
    url = {"GATEWAY_URL": "https://127.0.0.1:1", "GATEWAY_IS_PRIVATE": "false", "READY_SECONDS": "0"}
    told = fail(azure, hook, PATH=str(azure.bin), **url)
    assert ("`az` is not on the PATH" in told) or hook == "postdeploy"


def test_somebody_who_is_not_signed_in_is_told_how(azure: FakeAzure) -> None:
    program = azure.bin / "az"
    program.write_text("#!/bin/sh\necho \"ERROR: Please run 'az login' to setup account.\" >&2\nexit 1\n")
    assert "Sign in with `az login`" in fail(azure, "preprovision")


@pytest.mark.parametrize("hook", ["preprovision", "postprovision", "postdeploy"])
def test_a_cli_that_works_on_another_subscription_changes_nothing(azure: FakeAzure, hook: str) -> None:
    other = "00000000-2222-3333-4444-555555555555"
    told = fail(azure, hook, AZURE_SUBSCRIPTION_ID=other, GATEWAY_URL="https://127.0.0.1:1")
    assert f"az account set --subscription {other}" in told
    assert (azure.writes, azure.variables) == ([], {})


def test_a_variable_of_azd_that_is_missing_is_named(azure: FakeAzure) -> None:
    assert "AZURE_KEY_VAULT_ID is not set" in fail(azure, "postprovision", AZURE_KEY_VAULT_ID="")
    assert "AZURE_ENV_NAME is not set" in fail(azure, "preprovision", AZURE_ENV_NAME="")


@pytest.mark.parametrize("arguments", [[], ["postdown"], ["preprovision", "postdeploy"]])
def test_an_unknown_hook_is_refused(arguments: list[str]) -> None:
    command = [sys.executable, "-B", "-m", "infra.hooks", *arguments]
    ended = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert (ended.returncode, "Name one of preprovision" in ended.stderr) == (2, True)


def test_ids_of_roles_and_scope_never_change() -> None:
    # assignments in the directories of customers name them
    assert {each["value"]: each["id"] for each in (*ROLES, SCOPE)} == {
        "Gateway.Admin": "133ccf4b-1603-4134-a991-2f088acf264d",
        "Gateway.Billing.Read": "dec3149a-4f65-4bce-a46c-080cb7d779dd",
        "Gateway.Audit.Read": "3f43058e-e3fb-4241-b083-abd4d611406c",
        "Gateway.Use": "36c6e91b-0af1-431c-8c9e-b1d9086722ca",
        "user_impersonation": "c36645c9-7c51-4398-b09f-b88b3398e916",
    }


def test_azd_down_is_refused_unless_the_books_shall_go(azure: FakeAzure) -> None:
    assert "infra/scripts/teardown.sh" in fail(azure, "predown")
    assert "infra/scripts/teardown.sh" in fail(azure, "predown", DELETE_BOOKS_OF="other")
    succeed(azure, "predown", DELETE_BOOKS_OF="trial")


def test_a_chosen_package_is_deployed_only_with_its_checksum(azure: FakeAzure, tmp_path: Path) -> None:
    package = tmp_path / "gateway.zip"
    assert "`make package` writes both" in fail(azure, "predeploy", TALLYGATE_PACKAGE=str(package))
    package.write_bytes(b"x")
    stated = tmp_path / "gateway.zip.sha256"
    stated.write_text("0  gateway.zip\n")
    assert "is not the file" in fail(azure, "predeploy", TALLYGATE_PACKAGE=str(package))
    stated.write_text("2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881  gateway.zip\n")
    assert "sha256 2d711642" in succeed(azure, "predeploy", TALLYGATE_PACKAGE=str(package))


def test_a_package_that_cannot_be_built_is_not_deployed(azure: FakeAzure, tmp_path: Path) -> None:
    nowhere = {"CONFORMANCE_PYTHON": "", "PYENV_ROOT": str(tmp_path), "HOME": str(tmp_path)}
    if not Path("/usr/bin/python3.13").exists():
        assert "could not be built" in fail(azure, "predeploy", **nowhere)
