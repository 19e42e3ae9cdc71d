"""Print the minutes of each suite: setup, call and teardown of its tests, summed over all workers."""

from __future__ import annotations

from collections import Counter, defaultdict
from operator import itemgetter
from pathlib import PurePosixPath

import pytest


def suite_of(node_id: str) -> str:
    """Return the folder under `tests/` that contains a test, else the name of its file."""
    path = PurePosixPath(node_id.split("::")[0])
    return path.parts[1] if len(path.parts) > 1 else path.name


class SuiteMinutes:
    """A pytest plugin. With several workers, only the controller gets every report and prints."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        suite = suite_of(report.nodeid)
        self._seconds[suite] += report.duration
        self._tests[suite] += report.when == "setup"

    def lines(self) -> list[str]:
        """Return one line for each suite, the longest first."""
        ordered = sorted(self._seconds.items(), key=itemgetter(1), reverse=True)
        return [f"{seconds / 60:6.2f} min {self._tests[suite]:6} tests  {suite}" for suite, seconds in ordered]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("minutes by suite")
        for line in self.lines():
            terminalreporter.write_line(line)
