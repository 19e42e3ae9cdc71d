"""The script that locks the policies of the books: it asks, and never locks a trial."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.tools.bicep import ROOT
from tests.tools.fake_azure import SUBSCRIPTION, FakeAzure

SCRIPT = ROOT / "infra/scripts/lock-immutability.sh"
VALUES = {
    "GATEWAY_PROFILE": "private",
    "BOOKS_IMMUTABILITY": "unlocked",
    "BOOKS_RESOURCE_GROUP": "rg-prod-books",
    "BOOKS_STORAGE_ACCOUNT": "tgbooks",
    "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
}

BACKUPS_UNLOCKED = {
    "--container-name backups --query state": "Unlocked",
    "--container-name anchors --query state": "Locked",
    "--container-name chargeback --query state": "Locked",
    "--query immutabilityPeriodSinceCreationInDays": "400",
    "--query etag": '"8DE3"',
    "immutability-policy lock": "Locked",
}


@pytest.fixture
def azure(tmp_path: Path) -> FakeAzure:
    made = FakeAzure.make(tmp_path / "azure")
    answers = {
        "--container-name anchors --query state": "Unlocked",
        "--container-name chargeback --query state": "Locked",
        "--query immutabilityPeriodSinceCreationInDays": "2557",
        "--query etag": '"8DE2"',
        "immutability-policy lock": "Locked",
    }
    made.change(values=VALUES, answers=answers)
    return made


def run(azure: FakeAzure, *containers: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script. `typed` is what somebody types for each container."""
    environment = {name: value for name, value in azure.environment().items() if name not in VALUES}
    environment["TALLYGATE_ANSWER"] = typed
    return subprocess.run(
        ["bash", str(SCRIPT), *containers],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def locks(azure: FakeAzure) -> list[str]:
    return [each for each in azure.commands if "immutability-policy lock" in each]


def test_the_name_of_the_container_must_be_typed(azure: FakeAzure) -> None:
    for typed in ("", "y", "yes", "chargeback"):
        assert run(azure, typed=typed).returncode == 1
    assert locks(azure) == []


def test_the_policy_that_was_shown_is_locked_and_no_other(azure: FakeAzure) -> None:
    ended = run(azure, typed="anchors")
    (lock,) = locks(azure)
    assert "--account-name tgbooks --resource-group rg-prod-books --container-name anchors " in lock
    assert '--if-match "8DE2"' in lock
    assert lock.endswith(f" --subscription {SUBSCRIPTION}")
    assert "2557 days" in ended.stdout
    assert "cannot be undone" in ended.stdout


def test_the_template_leaves_the_policies_alone_once_both_are_locked(azure: FakeAzure) -> None:
    half = run(azure, typed="anchors")
    assert (half.returncode, "BOOKS_IMMUTABILITY_WANTED" in azure.variables) == (1, False)
    azure.change(answers={"--query state": "Locked", "--query immutabilityPeriodSinceCreationInDays": "2557"})
    assert run(azure).returncode == 0
    assert azure.variables["BOOKS_IMMUTABILITY_WANTED"] == "locked"


def test_copies_of_the_books_are_locked_in_their_own_account(azure: FakeAzure) -> None:
    azure.change(values={**VALUES, "BACKUP_STORAGE_ACCOUNT": "tgcopies"}, answers=BACKUPS_UNLOCKED)
    ended = run(azure, typed="backups")
    (lock,) = locks(azure)
    assert "--account-name tgcopies --resource-group rg-prod-books --container-name backups " in lock
    assert ended.returncode == 0
    assert azure.variables["BACKUP_IMMUTABILITY_WANTED"] == "locked"
    assert azure.variables["BOOKS_IMMUTABILITY_WANTED"] == "locked"


def test_copies_can_be_locked_before_the_books(azure: FakeAzure) -> None:
    answers = {**BACKUPS_UNLOCKED, "--container-name anchors --query state": "Unlocked"}
    azure.change(values={**VALUES, "BACKUP_STORAGE_ACCOUNT": "tgcopies"}, answers=answers)
    assert run(azure, "backups", typed="backups").returncode == 0
    assert "BOOKS_IMMUTABILITY_WANTED" not in azure.variables


def test_there_are_no_copies_to_lock_without_their_account(azure: FakeAzure) -> None:
    assert "makes no account of backups" in run(azure, "backups", typed="backups").stderr
    assert locks(azure) == []


@pytest.mark.parametrize("copies", ["Unlocked", ""])
def test_books_that_are_locked_are_noted_though_their_copies_are_not(azure: FakeAzure, copies: str) -> None:
    answers = {**BACKUPS_UNLOCKED, "--container-name backups --query state": copies}
    azure.change(values={**VALUES, "BACKUP_STORAGE_ACCOUNT": "tgcopies"}, answers=answers)
    assert run(azure, typed="nothing").returncode == 1
    assert locks(azure) == []
    assert azure.variables["BOOKS_IMMUTABILITY_WANTED"] == "locked"
    assert "BACKUP_IMMUTABILITY_WANTED" not in azure.variables


@pytest.mark.parametrize("trial", [{"GATEWAY_PROFILE": "public"}, {"BOOKS_IMMUTABILITY": "none"}])
def test_a_trial_is_never_locked(azure: FakeAzure, trial: dict[str, str]) -> None:
    azure.change(values={**VALUES, **trial})
    ended = run(azure, typed="anchors")
    assert (ended.returncode, "trial" in ended.stderr) == (1, True)
    assert locks(azure) == []


def test_a_container_without_a_policy_is_told(azure: FakeAzure) -> None:
    azure.change(answers={"--query state": "", "--query immutabilityPeriodSinceCreationInDays": ""})
    assert "has no policy" in run(azure).stderr
    assert locks(azure) == []
