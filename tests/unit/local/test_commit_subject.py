"""The hook that checks commit messages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from local.commit_subject import LONGEST, problem_of

LONG = "local: " + "x" * (LONGEST - len("local: "))


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("ledger: entries are numbered\n\nWhy.", None),
        ("docs/adr: an index", None),
        ("Merge branch 'tooling'", None),
        ('Revert "ledger: entries are numbered"', None),
        (LONG, None),
        (LONG + "x", "has 73 characters"),
        ("Entries are numbered", "must be 'area: what changes'"),
        ("ledger:", "must be"),
        ("", "must be"),
    ],
)
def test_a_subject_names_its_area_and_is_short(message: str, problem: str | None) -> None:
    found = problem_of(message)
    assert (found is None) if problem is None else (found is not None and problem in found)


@pytest.mark.parametrize(("subject", "status"), [("local: a hook", 0), ("A hook", 1)])
def test_the_hook_refuses_by_its_exit_status(tmp_path: Path, subject: str, status: int) -> None:
    message = tmp_path / "COMMIT_EDITMSG"
    message.write_text(f"{subject}\n")
    command = [sys.executable, "-m", "local.commit_subject", str(message)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, bool(ended.stderr)) == (status, status != 0)
