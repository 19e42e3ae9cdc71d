"""A whole run of tests fails if no test has logged some event of the table. Other runs do not look."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = """
from tests.tools.logged_events import LoggedEvents

def pytest_configure(config):
    config.pluginmanager.register(LoggedEvents(), "logged events")
"""
TESTS = """
import logging
import pytest
from shared.application.structured_log import log_event
from shared.domain.telemetry.events import EVENTS

@pytest.mark.parametrize("event", EVENTS[{unseen}:])
def test_each(event):
    log_event(logging.ERROR, event.name, {{}})

def test_last():
    assert {last}
"""
TOLD = "events that no test has logged"


def run(folder: Path, *arguments: str, unseen: int = 0, last: bool = True) -> tuple[int, str]:
    """Run pytest over a folder of its own. Returns its status, and what it printed."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_events.py").write_text(TESTS.format(unseen=unseen, last=last))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    ended = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_whole_run_fails_and_names_what_was_never_logged(tmp_path: Path, workers: tuple[str, ...]) -> None:
    status, printed = run(tmp_path, *workers, unseen=2)
    assert (status, TOLD in printed) == (1, True), printed
    assert "gateway.misconfigured, gateway.started" in printed
    status, printed = run(tmp_path, *workers)
    assert (status, TOLD in printed) == (0, False), printed


@pytest.mark.parametrize("selection", [("-k", "last"), ("--deselect", "test_events.py::test_each"), ("-qk", "last")])
def test_a_run_of_some_tests_does_not_look(tmp_path: Path, selection: tuple[str, ...]) -> None:
    status, printed = run(tmp_path, *selection)
    assert (status, TOLD in printed) == (0, False), printed


def test_a_run_that_a_failure_ends_tells_the_failure_alone(tmp_path: Path) -> None:
    status, printed = run(tmp_path, "--maxfail=1", unseen=2, last=False)
    assert (status, TOLD in printed, "1 failed" in printed) == (1, False, True), printed
