"""Lines of the log are compared with the table of events: their fields in each test, their names over a whole run."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from shared.application.structured_log import log_event
from shared.domain.telemetry.events import EVENTS
from tests.tools.logged_events import LoggedEvents, undeclared


@pytest.mark.parametrize(
    ("event", "field", "is_declared"),
    [
        ("gateway.alert", "gateway.alert.kind", True),
        ("gateway.alert", "gateway.request_id", True),
        ("gateway.alert", "gateway.alert.address", False),
        ("gateway.timer.finished", "gateway.timer.count.lanes", True),
        ("gateway.timer.failed", "gateway.timer.count.lanes", False),
    ],
)
def test_a_field_is_declared_by_its_name_or_its_beginning(event: str, field: str, is_declared: bool) -> None:
    assert [*undeclared(event, {field: 1})] == ([] if is_declared else [f"{event}: {field}"])


def test_an_event_that_is_not_in_the_table_is_found() -> None:
    assert [*undeclared("gateway.no_such", {"gateway.tenant": "acme"})] == ["gateway.no_such"]


def test_every_line_of_a_test_is_noted(request: pytest.FixtureRequest) -> None:
    plugin: Any = request.config.pluginmanager.get_plugin("logged events")
    log_event(logging.WARNING, "gateway.alert", {"gateway.alert.address": "x"})
    log_event(logging.WARNING, "gateway.unknown", {"gateway.alert.address": "x"})
    assert plugin._undeclared == ["gateway.alert: gateway.alert.address"]
    plugin._undeclared.clear()
    assert plugin._seen == {"gateway.alert"}


def test_events_of_all_workers_are_added_up() -> None:
    plugin = LoggedEvents()
    for names in (["gateway.started"], [each.name for each in EVENTS[2:]]):
        plugin.pytest_runtest_logreport(
            pytest.TestReport(
                "t", ("t", 1, "t"), {}, "passed", None, "teardown", user_properties=[("logged events", names)]
            )
        )
    assert plugin.unseen() == ["gateway.misconfigured"]
