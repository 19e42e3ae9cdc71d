"""The Dockerfile, without a daemon: its linter, the files that a build would copy, and the settings of the image."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import pytest

from local.package.ignored import deployed_files

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "infra" / "containers" / "Dockerfile"


def instructions(text: str) -> list[tuple[str, str]]:
    """Return name and arguments of each instruction, with continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    joined = lines.replace("\\\n", " ").splitlines()
    return [(name.upper(), " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in joined)]


def is_sent(file: str, patterns: list[str]) -> bool:
    """Tell whether `.dockerignore` lets a file go to the builder: the last pattern that matches decides.

    A pattern matches a file, and everything below a folder. https://docs.docker.com/build/concepts/context/
    """
    sent = True
    for pattern in patterns:
        if any(_matches(part, pattern.removeprefix("!")) for part in _with_parents(file)):
            sent = pattern.startswith("!")
    return sent


def copied(root: Path) -> set[str]:
    """Return the files of the context that the build copies from it into the image."""
    lines = (root / ".dockerignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    files = [str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()]
    sent = [file for file in files if is_sent(file, patterns)]
    found = set()
    for name, arguments in instructions(DOCKERFILE.read_text()):
        if name in ("COPY", "ADD") and not arguments.startswith("--from="):
            *sources, _ = arguments.split()
            found |= {file for file in sent for source in sources if file == source or file.startswith(f"{source}/")}
    return found


def _with_parents(file: str) -> list[str]:
    return [file, *(str(parent) for parent in PurePosixPath(file).parents if str(parent) != ".")]


def _matches(path: str, pattern: str) -> bool:
    anywhere = pattern.removeprefix("**/")
    if anywhere != pattern:
        return fnmatchcase(PurePosixPath(path).name, anywhere)
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of all files that are tracked or new, and some that must never leave this machine."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / name)
    for name in (
        "local.settings.json",
        ".env",
        ".local/generated-secrets.json",
        "shared/__pycache__/x.cpython-313.pyc",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("secret")
    return tmp_path


def test_the_linter_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    ran = subprocess.run([linter, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.returncode) == ("", 0)


def test_the_image_holds_the_files_of_the_package(checkout: Path) -> None:
    assert copied(checkout) == {file.as_posix() for file in deployed_files(checkout)}


@pytest.mark.parametrize("name", ["local.settings.json", ".env", ".local/generated-secrets.json", "tests/conftest.py"])
def test_secrets_and_tests_are_not_even_sent_to_the_builder(checkout: Path, name: str) -> None:
    lines = (checkout / ".dockerignore").read_text().splitlines()
    assert not is_sent(name, [line for line in lines if line and not line.startswith("#")])


@pytest.mark.parametrize(
    ("file", "patterns", "sent"),
    [
        ("a.txt", [], True),
        ("a.txt", ["*"], False),
        ("a/b.txt", ["*"], False),
        ("a/b.txt", ["*", "!a"], True),
        ("a/b.txt", ["b.txt"], True),
        ("a/b.txt", ["**/b.txt"], False),
        ("a/c/b.pyc", ["*", "!a", "**/*.pyc"], False),
        ("a/c/b.txt", ["*", "!a", "**/c"], False),
        ("a/b.txt", ["a", "!a/b.txt"], True),
    ],
)
def test_patterns_are_read_as_docker_reads_them(file: str, patterns: list[str], sent: bool) -> None:
    assert is_sent(file, patterns) is sent


def test_only_wheels_of_the_lock_file_are_installed() -> None:
    (install,) = [arguments for name, arguments in instructions(DOCKERFILE.read_text()) if "pip install" in arguments]
    for option in ("--require-hashes", "--only-binary :all:", "--requirement requirements.txt", "--no-cache-dir"):
        assert option in install


def test_both_stages_have_the_base_image_of_the_argument_and_the_image_states_its_digest() -> None:
    found = instructions(DOCKERFILE.read_text())
    bases = [arguments.split()[0] for name, arguments in found if name == "FROM"]
    assert bases == ["mcr.microsoft.com/azure-functions/python:${BASE_TAG}"] * 2
    assert found[0] == ("ARG", "BASE_TAG=4-python3.13")
    (label,) = [arguments for name, arguments in found if name == "LABEL"]
    assert 'org.opencontainers.image.base.digest="${BASE_DIGEST}"' in label
    assert 'org.opencontainers.image.revision="${REVISION}"' in label


def test_the_process_is_not_root_and_gets_signals_itself() -> None:
    found = dict(instructions(DOCKERFILE.read_text()))
    assert int(found["USER"]) > 0
    assert found["CMD"] == '["/azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost"]'
    assert "http://127.0.0.1:8080/healthz" in found["HEALTHCHECK"]
    settings = dict(re.findall(r"(\w+)=(\S+)", found["ENV"]))
    assert settings["AzureWebJobsScriptRoot"] == "/home/site/wwwroot"
    assert (settings["ASPNETCORE_URLS"], found["EXPOSE"]) == ("http://+:8080", "8080")


def test_the_image_has_no_secret() -> None:
    for name, arguments in instructions(DOCKERFILE.read_text()):
        if name in ("ARG", "ENV"):
            assert re.search(r"(KEY|PASSWORD|TOKEN|CONNECTION_STRING)\w*=[^\"\s]", arguments) is None
