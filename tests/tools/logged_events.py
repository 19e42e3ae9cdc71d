"""Compare each line that a test logs with the table of events. Tell which events no test of a whole run has seen."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import pytest

from local.run_tests import plan
from shared.application.structured_log import LEFT_OUT, REQUEST
from shared.domain.telemetry.events import BY_NAME

_LOGGER: Final = "tallygate"
_SEEN: Final = "logged events"
_OF_TESTS: Final = {"gateway.test", "gateway.unknown"}
_ANY_LINE: Final = {REQUEST, LEFT_OUT, "event.name"}


class LoggedEvents(logging.Filter):
    """A pytest plugin. With several workers, each checks its lines, and the controller gets all names of events."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()
        self._undeclared: list[str] = []
        self._in_all: set[str] = set()

    def pytest_configure(self) -> None:
        logging.getLogger(_LOGGER).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Note a line, unless a test itself has written it with a name of its own."""
        fields = {name: value for name, value in vars(record).items() if "." in name}
        name = fields.get("event.name", "")
        if name and name not in _OF_TESTS:
            self._seen.add(name)
            self._undeclared += undeclared(name, fields)
        return True

    @pytest.fixture(autouse=True)
    def lines_are_declared(self, request: pytest.FixtureRequest) -> Iterator[None]:
        """Fail a test whose lines have names or fields that the table does not have."""
        yield
        seen, self._seen = self._seen, set()
        found, self._undeclared = self._undeclared, []
        request.node.user_properties.append((_SEEN, sorted(seen)))
        assert found == [], "add them to shared/domain/telemetry/events.py"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._in_all |= {each for name, seen in report.user_properties if name == _SEEN for each in _names(seen)}

    def unseen(self) -> list[str]:
        """Return the events of the table that no test has logged so far."""
        return sorted(BY_NAME.keys() - self._in_all)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a whole run that passed, if it never logged some event."""
        if self._is_incomplete(session.config, session.exitstatus):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
    ) -> None:
        if self._is_incomplete(config, exitstatus):
            terminalreporter.section("events that no test has logged")
            terminalreporter.write_line(", ".join(self.unseen()))

    def _is_incomplete(self, config: pytest.Config, exitstatus: int) -> bool:
        """Tell whether all tests were run and passed, but some event is unseen. A worker sees its own lines only."""
        is_part = hasattr(config, "workerinput") or config.option.keyword or config.option.markexpr
        is_whole = not is_part and plan(config.invocation_params.args).is_whole
        return is_whole and exitstatus == pytest.ExitCode.OK and bool(self.unseen())


def undeclared(event: str, fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the table does not name: a line's event, or fields of it. A name there may end with `*`."""
    if event not in BY_NAME:
        yield event
        return
    declared = BY_NAME[event].fields
    begins = tuple(name[:-1] for name in declared if name.endswith("*"))
    for name in fields:
        if name not in _ANY_LINE and name not in declared and not name.startswith(begins):
            yield f"{event}: {name}"


def _names(seen: Any) -> Iterable[str]:
    return [str(each) for each in seen]
