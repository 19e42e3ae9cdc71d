"""The minutes by suite at the end of a run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tools.suite_minutes import SuiteMinutes, suite_of


@pytest.mark.parametrize(
    ("node_id", "suite"),
    [
        ("tests/unit/ledger/test_committer.py::test_x[a/b::c]", "unit"),
        ("tests/e2e/test_local_run.py::Some::test_y", "e2e"),
        ("test_alone.py::test_z", "test_alone.py"),
    ],
)
def test_a_suite_is_the_folder_under_tests(node_id: str, suite: str) -> None:
    assert suite_of(node_id) == suite


def test_minutes_are_those_of_setup_call_and_teardown() -> None:
    minutes = SuiteMinutes()
    for node_id, when, seconds in (
        ("tests/unit/test_a.py::test_1", "setup", 1.5),
        ("tests/unit/test_a.py::test_1", "call", 3),
        ("tests/unit/test_a.py::test_1", "teardown", 1.5),
        ("tests/e2e/test_b.py::test_2", "setup", 60),
        ("tests/e2e/test_b.py::test_2", "call", 30),
        ("tests/unit/test_a.py::test_3", "setup", 0),
    ):
        minutes.pytest_runtest_logreport(report(node_id, when, seconds))
    assert [line.split() for line in minutes.lines()] == [
        ["1.50", "min", "1", "tests", "e2e"],
        ["0.10", "min", "2", "tests", "unit"],
    ]


def report(node_id: str, when: Any, seconds: float) -> pytest.TestReport:
    return pytest.TestReport(node_id, (node_id, 1, node_id), {}, "passed", None, when, duration=seconds)
