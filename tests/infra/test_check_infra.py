"""`make infra` uses the Bicep CLI where there is one, and ends with its failure."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local import check_infra
from tests.infra.subject import PROFILES, TEMPLATES


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Bicep CLI that writes down what it is asked for, and fails at what `FAILS` names."""
    log, program = tmp_path / "commands", tmp_path / "bicep"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\ntest "$1" != "$FAILS"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", "true")
    return log


def test_every_template_is_linted_and_built_and_every_profile_expanded(commands: Path) -> None:
    assert check_infra.main() == 0
    asked = [line.split()[0] for line in commands.read_text().splitlines()]
    assert check_infra.TEMPLATES == TEMPLATES
    assert [asked.count(each) for each in ("lint", "build")] == [len(TEMPLATES)] * 2
    assert [asked.count(each) for each in ("decompile-params", "snapshot")] == [len(PROFILES)] * 2


@pytest.mark.parametrize("step", ["lint", "build", "decompile-params", "snapshot"])
def test_a_failure_of_the_compiler_is_one_of_the_check(
    commands: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setenv("FAILS", step)
    assert check_infra.main() != 0


def test_without_the_compiler_the_offline_checks_run(
    commands: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert check_infra.main() == 0
    assert "bicep is not on PATH" in capfd.readouterr().out
    assert not commands.exists()
