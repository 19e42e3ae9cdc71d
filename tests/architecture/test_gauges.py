"""Gauges are set by timers only: many instances that serve requests would each tell a value of their own."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from shared import timers
from shared.application import structured_log
from shared.domain.telemetry import instruments

SHARED = Path(structured_log.__file__).resolve().parents[1]
GAUGES = {
    name
    for name, each in vars(instruments).items()
    if isinstance(each, instruments.Instrument) and each.kind is instruments.InstrumentKind.GAUGE
}
SETTERS = {
    "application/alerts/measure_backlog.py": "gateway.alerts.backlog.publish()",
    "application/billing/watch_budgets.py": "gateway.billing.watch_budgets()",
    "application/billing/watch_spending.py": "gateway.billing.watch_spending()",
    "application/health/publish_gauges.py": "gateway.health.report()",
}
"""The modules that set gauges, and the calls in timers by which they do."""


def named(source: str) -> Iterator[str]:
    """Yield the gauges that a module names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in GAUGES:
            yield node.id


def test_only_use_cases_of_timers_set_gauges() -> None:
    found = {
        str(path.relative_to(SHARED)): {*named(path.read_text())}
        for path in SHARED.rglob("*.py")
        if path.stem != "instruments"
    }
    setting = {name: gauges for name, gauges in found.items() if gauges}
    assert setting.keys() == SETTERS.keys()
    assert set().union(*setting.values()) == GAUGES


def test_no_request_calls_what_sets_gauges() -> None:
    source = inspect.getsource(timers)
    others = "".join(path.read_text() for folder in ("http", "cli") for path in (SHARED / folder).rglob("*.py"))
    for call in SETTERS.values():
        assert call in source
        assert call not in others
