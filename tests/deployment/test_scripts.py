"""The scripts of infra/scripts: what they call, when they ask, and that a backup can be restored."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.tools.fake_azure import SUBSCRIPTION, VAULT, FakeAzure
from tests.tools.stack import AzuriteAccount, Stack, free_port, running_azurite

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "infra" / "scripts"
BACKUPS = "https://tgbackup.blob.core.windows.net/backups"
VALUES = {
    "GATEWAY_PLAN": "flex",
    "GATEWAY_NAME": "tallygate-x",
    "GATEWAY_IS_PRIVATE": "false",
    "AZURE_RESOURCE_GROUP": "rg-trial",
    "BOOKS_RESOURCE_GROUP": "rg-trial-books",
    "AZURE_ENV_NAME": "trial",
    "BOOKS_STORAGE_ACCOUNT": "tgbooks",
    "AZURE_KEY_VAULT_ID": VAULT,
    "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
    "ENTRA_CLIENT_ID": "app",
    "PACKAGES_URL": "https://tghost.blob.core.windows.net/packages",
}


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteAccount]:
    """An Azurite for this module alone, because a backup has the books of every tenant, under one chain key."""
    with running_azurite(tmp_path_factory.mktemp("azurite")) as account:
        yield account


class Readiness(BaseHTTPRequestHandler):
    """Answers /readyz with the statuses of its server, one after the other."""

    def do_GET(self) -> None:
        statuses: list[int] = self.server.statuses  # type: ignore[attr-defined] # this test's own server has it
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture
def gateway() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", free_port()), Readiness) as server:
        server.statuses = [503, 200]  # type: ignore[attr-defined] # see above
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def azure(tmp_path: Path, gateway: HTTPServer) -> FakeAzure:
    made = FakeAzure.make(tmp_path / "azure")
    made.change(values={**VALUES, "GATEWAY_URL": f"http://127.0.0.1:{gateway.server_port}"})
    return made


@pytest.fixture
def package_file(tmp_path: Path) -> Path:
    file = tmp_path / "previous 1.zip"
    file.write_bytes(b"a package")
    file.with_name(f"{file.name}.sha256").write_text(f"{hashlib.sha256(b'a package').hexdigest()}  {file.name}\n")
    return file


def run(azure: FakeAzure, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = azure.environment(READY_PAUSE_SECONDS="0", **variables)
    for name in VALUES.keys() - variables.keys():
        environment.pop(name, None)
    command = ["bash", str(SCRIPTS / script), *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def changes(azure: FakeAzure) -> list[str]:
    """Return the calls that are not questions."""
    questions = ("azd env get-value", "az group exists", "az storage account show", "az ad ", "az account ",
                 "az deployment sub list")  # fmt: skip
    return [each for each in azure.commands if not each.startswith(questions)]


def test_a_package_is_deployed_by_azd_and_awaited(azure: FakeAzure, package_file: Path) -> None:
    ended = run(azure, "deploy-package.sh", str(package_file))
    assert (ended.returncode, "is ready" in ended.stdout) == (0, True), ended.stderr
    assert changes(azure) == [f"azd deploy gateway --from-package {package_file} --no-prompt"]


def test_a_premium_app_reads_the_package_from_its_container(azure: FakeAzure, package_file: Path) -> None:
    azure.change(values={**azure.variables, "GATEWAY_PLAN": "premium"})
    ended = run(azure, "deploy-package.sh", str(package_file))
    assert ended.returncode == 0, ended.stderr
    assert [each.split(" --")[0] for each in changes(azure)] == ["az storage blob upload", "az functionapp restart"]
    assert all(each.endswith(f" --subscription {SUBSCRIPTION}") for each in changes(azure))
    assert list(azure.state["blobs"]) == ["https://tghost.blob.core.windows.net/packages/gateway.zip"]


def test_a_package_that_is_not_the_one_of_its_checksum_is_not_deployed(azure: FakeAzure, package_file: Path) -> None:
    package_file.write_bytes(b"another package")
    assert run(azure, "deploy-package.sh", str(package_file)).returncode != 0
    package_file.unlink()
    assert run(azure, "deploy-package.sh", str(package_file)).returncode == 2
    assert changes(azure) == []


def test_a_gateway_that_does_not_get_ready_is_an_error(
    azure: FakeAzure, package_file: Path, gateway: HTTPServer
) -> None:
    gateway.statuses = [503]  # type: ignore[attr-defined] # see above
    ended = run(azure, "deploy-package.sh", str(package_file), READY_SECONDS="0")
    assert (ended.returncode, "was answered 503, not 200" in ended.stderr) == (1, True)


def test_a_rollback_asks_and_deploys_the_earlier_package(azure: FakeAzure, package_file: Path) -> None:
    assert run(azure, "rollback.sh", str(package_file)).returncode == 1
    assert run(azure, "rollback.sh", str(package_file), TALLYGATE_ANSWER="yes").returncode == 1
    assert changes(azure) == []
    ended = run(azure, "rollback.sh", str(package_file), TALLYGATE_ANSWER="tallygate-x")
    assert ended.returncode == 0, ended.stderr
    assert changes(azure) == [f"azd deploy gateway --from-package {package_file} --no-prompt"]


def test_a_what_if_changes_nothing_and_needs_no_right_to(azure: FakeAzure) -> None:
    azure.change(answers={"az deployment sub what-if": "changes"})
    assert "AZURE_LOCATION" in run(azure, "what-if.sh", AZURE_ENV_NAME="trial").stderr
    variables = {"AZURE_ENV_NAME": "trial", "AZURE_LOCATION": "swedencentral", "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION}
    ended = run(azure, "what-if.sh", **variables)
    assert ended.returncode == 0, ended.stderr
    (asked,) = azure.commands
    assert "--validation-level ProviderNoRbac" in asked


def test_a_teardown_asks_and_leaves_the_books(azure: FakeAzure) -> None:
    azure.change(answers={"az group exists": True, "az deployment sub list": ""})
    assert run(azure, "teardown.sh").returncode == 1
    assert changes(azure) == []
    ended = run(azure, "teardown.sh", TALLYGATE_ANSWER="rg-trial")
    assert ended.returncode == 0, ended.stderr
    assert changes(azure) == [f"az group delete --name rg-trial --yes --output none --subscription {SUBSCRIPTION}"]
    for outliving in ("tgbooks", "rg-trial-books", VAULT, "az ad app delete --id app", "48 hours", "14 days"):
        assert outliving in ended.stdout


def test_a_provision_after_a_teardown_is_not_skipped(azure: FakeAzure) -> None:
    """azd compares template and values with the deployments of the environment, and not with what is there."""
    azure.change(answers={"az group exists": True, "az deployment sub list": "trial-17\ntrial-18"})
    assert run(azure, "teardown.sh", TALLYGATE_ANSWER="rg-trial").returncode == 0
    asked = next(each for each in azure.commands if each.startswith("az deployment sub list"))
    assert """[?tags."azd-env-name"=='trial'].name""" in asked
    assert changes(azure) == [
        f"az deployment sub delete --name trial-17 --output none --subscription {SUBSCRIPTION}",
        f"az deployment sub delete --name trial-18 --output none --subscription {SUBSCRIPTION}",
        f"az group delete --name rg-trial --yes --output none --subscription {SUBSCRIPTION}",
    ]


def test_a_teardown_that_was_done_already_deletes_nothing(azure: FakeAzure) -> None:
    azure.change(answers={"az group exists": False})
    assert run(azure, "teardown.sh", TALLYGATE_ANSWER="rg-trial").returncode == 0
    assert changes(azure) == []


def test_a_teardown_that_cannot_ask_azure_does_not_say_that_it_is_done(azure: FakeAzure) -> None:
    azure.change(denied=["az group exists"])
    ended = run(azure, "teardown.sh", TALLYGATE_ANSWER="rg-trial")
    assert (ended.returncode, "does not exist" in ended.stdout, changes(azure)) == (1, False, [])


@pytest.mark.parametrize(
    "wrong",
    [{"BOOKS_RESOURCE_GROUP": "rg-trial"}, {"AZURE_KEY_VAULT_ID": VAULT.replace("/rg/", "/RG-trial/")}],
)  # fmt: skip
def test_a_teardown_that_would_delete_books_or_keys_is_refused(azure: FakeAzure, wrong: dict[str, str]) -> None:
    azure.change(values={**azure.variables, **wrong}, answers={"az group exists": True})
    assert run(azure, "teardown.sh", TALLYGATE_ANSWER="rg-trial").returncode == 1
    assert changes(azure) == []


def test_a_lock_that_forbids_the_teardown_is_told(azure: FakeAzure) -> None:
    azure.change(answers={"az group exists": True, "az deployment sub list": ""}, denied=["az group delete"])
    ended = run(azure, "teardown.sh", TALLYGATE_ANSWER="rg-trial")
    assert (ended.returncode, "az lock list -g rg-trial" in ended.stderr) == (1, True)


@pytest.mark.parametrize("script", ["deploy-package.sh", "rollback.sh", "teardown.sh"])
def test_without_an_environment_of_azd_nothing_happens(azure: FakeAzure, package_file: Path, script: str) -> None:
    azure.change(values={})
    arguments = () if script == "teardown.sh" else (str(package_file),)
    ended = run(azure, script, *arguments, TALLYGATE_ANSWER="rg-trial")
    assert (ended.returncode, "azd provision" in ended.stderr) == (1, True)
    assert changes(azure) == []


@pytest.mark.parametrize("script", ["rollback.sh", "backup-account.sh", "restore-drill.sh"])
def test_a_script_without_its_arguments_tells_its_use(azure: FakeAzure, script: str) -> None:
    ended = run(azure, script)
    assert (ended.returncode, f"infra/scripts/{script}" in ended.stderr) == (2, True)


def test_the_account_of_backups_has_no_keys_and_can_be_made_again(azure: FakeAzure) -> None:
    azure.change(answers={"az storage account show": "/the/account"})
    for _ in range(2):
        assert run(azure, "backup-account.sh", "rg-backup", "tgbackup", "northeurope", "pipeline").returncode == 0
    made = "\n".join(changes(azure))
    assert "--allow-shared-key-access false" in made
    assert "--scope /the/account/blobServices/default/containers/backups" in made
    assert "immutability-policy create" in made
    azure.forget_calls()
    azure.change(answers={"az storage account show": "/the/account", "immutability-policy show": "Locked"})
    assert run(azure, "backup-account.sh", "rg-backup", "tgbackup", "northeurope").returncode == 0
    assert "immutability-policy create" not in "\n".join(changes(azure))


def tallygate(folder: Path) -> str:
    """The command line of this checkout, which does not wait for its role."""
    program = folder / "tallygate"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -B -m shared.cli "$@"\n')
    program.chmod(0o755)
    return str(program)


def settings(account: AzuriteAccount) -> dict[str, str]:
    kept = ("AUDIT_CHAIN_KEY", "ADMIN_API_KEY", "PRIVACY_KEY")
    return {**account.settings, **{name: os.environ[name] for name in kept}}


async def test_a_backup_is_verified_sent_once_and_restored_by_the_drill(
    stack_on_tables: Stack, azurite: AzuriteAccount, azure: FakeAzure, tmp_path: Path
) -> None:
    assert (await stack_on_tables.chat())[0] == 200
    await stack_on_tables.settled()
    period = (await stack_on_tables.usage())["period"]
    variables = {**settings(azurite), "BACKUP_CONTAINER_URL": BACKUPS, "TALLYGATE": tallygate(tmp_path)}
    ended = await asyncio.to_thread(run, azure, "backup.sh", period, **variables)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [url.rpartition("/")[2] for url in azure.state["blobs"]] == [f"{period}.gz", f"{period}.gz.sha256"]
    assert all(url.startswith(f"{BACKUPS}/{period}/") for url in azure.state["blobs"])
    with running_azurite(tmp_path) as empty:
        azure.change(answers={
            "--query id": "/the/account", "primaryEndpoints.table": f"{empty.table_endpoint}/",
            "primaryEndpoints.blob": empty.blob_endpoint, "az ad signed-in-user show": "me",
        })  # fmt: skip
        drill = {**variables, **settings(empty), "DRILL_ATTEMPTS": "1", "BACKUP_CONTAINER_URL": f"{BACKUPS}/"}
        ended = await asyncio.to_thread(run, azure, "restore-drill.sh", period, "northeurope", **drill)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "was restored and verified" in ended.stdout
    made, deleted = (
        next(each for each in azure.commands if f"az group {verb}" in each) for verb in ("create", "delete")
    )
    assert made.split()[4] == deleted.split()[4]
    assert "rg-tallygate-drill-" in made


async def test_a_drill_over_a_damaged_backup_fails_before_it_makes_anything(
    stack_on_tables: Stack, azurite: AzuriteAccount, azure: FakeAzure, tmp_path: Path
) -> None:
    assert (await stack_on_tables.chat())[0] == 200
    await stack_on_tables.settled()
    period = (await stack_on_tables.usage())["period"]
    variables = {**settings(azurite), "BACKUP_CONTAINER_URL": BACKUPS, "TALLYGATE": tallygate(tmp_path)}
    await asyncio.to_thread(run, azure, "backup.sh", period, **variables)
    blobs = {url: content[:-8] if url.endswith(".gz") else content for url, content in azure.state["blobs"].items()}
    azure.change(blobs=blobs)
    ended = await asyncio.to_thread(run, azure, "restore-drill.sh", period, "northeurope", **variables)
    assert ended.returncode != 0
    assert [each for each in azure.commands if "az group" in each] == []


def test_a_drill_without_a_backup_says_so(azure: FakeAzure) -> None:
    ended = run(azure, "restore-drill.sh", "2026-11", "northeurope", BACKUP_CONTAINER_URL=BACKUPS)
    assert (ended.returncode, "There is no backup of 2026-11" in ended.stderr) == (1, True)


def test_a_backup_without_a_place_to_go_is_refused(azure: FakeAzure) -> None:
    ended = run(azure, "backup.sh")
    assert (ended.returncode != 0, "BACKUP_CONTAINER_URL" in ended.stderr) == (True, True)


def test_books_that_do_not_verify_are_not_sent_as_a_backup(azure: FakeAzure, tmp_path: Path) -> None:
    broken = tmp_path / "tallygate"
    broken.write_text('#!/bin/sh\n[ "$1" = backup ] && touch "$5" || exit 1\n')
    broken.chmod(0o755)
    ended = run(azure, "backup.sh", "2026-11", BACKUP_CONTAINER_URL=BACKUPS, TALLYGATE=str(broken))
    assert (ended.returncode, azure.state["blobs"]) == (1, {})


def test_this_and_the_previous_month_are_backed_up_by_default(azure: FakeAzure, tmp_path: Path) -> None:
    program = tmp_path / "tallygate"
    program.write_text('#!/bin/sh\n[ "$1" = backup ] && echo "period $3" && touch "$5"; true\n')
    program.chmod(0o755)
    ended = run(azure, "backup.sh", BACKUP_CONTAINER_URL=BACKUPS, TALLYGATE=str(program))
    periods = [line.split()[1] for line in ended.stdout.splitlines() if line.startswith("period ")]
    year, month = (int(part) for part in periods[1].split("-"))
    assert periods[0] == (f"{year}-{month - 1:02}" if month > 1 else f"{year - 1}-12")
    assert len(azure.state["blobs"]) == 4


def test_scripts_are_clean_for_shellcheck() -> None:
    program = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs shellcheck, which requirements-dev.txt has.")
        pytest.skip("shellcheck is not installed")
    scripts = sorted(map(str, [*SCRIPTS.glob("*.sh"), ROOT / ".ci" / "run"]))
    assert len(scripts) > 7
    subprocess.run([program, "--external-sources", *scripts], cwd=ROOT, check=True)


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda path: path.name)
def test_a_script_stops_at_the_first_error(script: Path) -> None:
    text = script.read_text()
    assert "set -euo pipefail" in text or script.name == "azd-values.sh"
