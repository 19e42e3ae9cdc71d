"""Settings of a file `.env` are used where the environment has none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local.env_file import read_env_file


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without these settings, which is restored afterwards."""
    monkeypatch.setattr(os, "environ", {"AZURE_OPENAI_MODEL": "of the shell"})


def stated() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if name.startswith("AZURE")}


def test_the_file_adds_what_the_environment_lacks(tmp_path: Path) -> None:
    lines = ["# mine", "AZURE_OPENAI_ENDPOINT=https://x.openai.azure.com", "export AZURE_OPENAI_MODEL=of-the-file",
             "AZURE_OPENAI_API_KEY='a ${b} #c'", "AZURE_OPENAI_SKU"]  # fmt: skip
    (tmp_path / ".env").write_text("\n".join(lines))
    assert read_env_file(tmp_path) == tmp_path / ".env"
    assert stated() == {
        "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com",
        "AZURE_OPENAI_MODEL": "of the shell",
        "AZURE_OPENAI_API_KEY": "a ${b} #c",
    }


def test_without_a_file_nothing_changes(tmp_path: Path) -> None:
    assert read_env_file(tmp_path) is None
    assert stated() == {"AZURE_OPENAI_MODEL": "of the shell"}


def test_another_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("AZURE_OPENAI_SKU=Standard")
    os.environ["TALLYGATE_ENV_FILE"] = "other"
    assert read_env_file(tmp_path) == tmp_path / "other"
    assert os.environ["AZURE_OPENAI_SKU"] == "Standard"


def test_the_file_is_ignored_by_git_and_not_deployed() -> None:
    root = Path(__file__).resolve().parents[3]
    assert ".env" in (root / ".gitignore").read_text().splitlines()
    assert "/.env*" in (root / ".funcignore").read_text().splitlines()
