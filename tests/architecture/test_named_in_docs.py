"""Documents name no setting, route, log event, metric or table that does not exist."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from shared.application.structured_log import __file__ as _structured_log
from shared.composition.weak_settings import WEAK_SETTINGS
from shared.domain.alerts.alert import AlertKind
from shared.domain.audit.protections import PROTECTIONS
from shared.domain.health.schedules import SCHEDULES
from shared.domain.telemetry.events import EVENTS
from shared.domain.telemetry.instruments import INSTRUMENTS
from shared.settings import Settings
from tests.architecture.test_docs import ROOT, documents
from tests.tools.stack import indexed_functions

SHARED = Path(_structured_log).resolve().parents[1]
_VARIABLE = re.compile(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`\n]*)?`")
_TELEMETRY = re.compile(r"`(gateway\.[a-z_]+(?:\.[a-z_]+)*)")
_FILES = (".yaml", ".zip", ".json", ".bicep")
_ROUTE = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE)`? (?:\| )?`?(/[A-Za-z0-9_\-/{}.:]*)")
_PATH = re.compile(r"(?:\$URL|\$GATEWAY|https://GATEWAY|127\.0\.0\.1:7071)(/[A-Za-z0-9_\-/{}]+)")
_TABLE = re.compile(r"\btables? `([a-z]+)`(?: and `([a-z]+)`)?")
_NO_ROUTES = ("/admin/functions/", "/openai/v1")
"""Paths of the Functions host, and the base of the v1 routes that SDKs get. Such routes are named with a method."""
_CHECKED = sorted(path for path in documents() if path.name != "CHANGELOG.md")
_OF_OTHERS = {
    "docs/guide/hybrid.md": {"IMDS_ENDPOINT"},  # of Azure Arc's agent
    "docs/reference/configuration.md": {"TALLYGATE_BLOB_PORT", "TALLYGATE_QUEUE_PORT", "TALLYGATE_TABLE_PORT"},
}
"""The variables that our source reads by a name that it puts together, or not at all."""


@cache
def source() -> str:
    """Return the text of everything that is no document: code, templates, scripts, tests, Makefile."""
    command = ["git", "ls-files", "--", ":!*.md", ":!tests/corpus", ":!*.txt"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return "\n".join(
        (ROOT / name).read_text(errors="replace") for name in listed.splitlines() if (ROOT / name).is_file()
    )


def unknown_variables(text: str) -> Iterator[str]:
    """Yield the names that look like settings, and are neither a setting nor read by a script or a template."""
    settings = {str(field.validation_alias or name.upper()) for name, field in Settings.model_fields.items()}
    for name in sorted({*_VARIABLE.findall(text)} - settings):
        if not re.search(rf"\b{name}\b", source()):
            yield name


def unknown_telemetry(text: str) -> Iterator[str]:
    """Yield the names of events, fields and metrics that are neither declared nor the beginning of one."""
    declared = {name for each in EVENTS for name in (each.name, *each.fields)} | {each.name for each in INSTRUMENTS}
    logged = {*re.findall(r'"(gateway\.[a-z_.]+)"', "".join(path.read_text() for path in SHARED.rglob("*.py")))}
    for name in sorted({*_TELEMETRY.findall(text)}):
        if name.endswith(_FILES) or name.startswith("gateway.contoso."):
            continue
        if not any(each == name or each.startswith(f"{name}.") for each in declared | logged):
            yield name


def unknown_routes(text: str) -> Iterator[str]:
    """Yield the routes that no function serves. A parameter may be named, or stand there with a value."""
    found = {(method, path.rstrip(".:/")) for method, path in _ROUTE.findall(text)}
    found |= {("", path.rstrip("/")) for path in _PATH.findall(text) if not path.startswith(_NO_ROUTES)}
    served = [each for each in indexed_functions()[0] if each.route != "{*path}"]
    routes = [(each.methods, re.sub(r"\{[^}]*\}", "[^/]+", each.route)) for each in served]
    for method, path in sorted(found):
        if not any((not method or method in methods) and re.fullmatch(route, path[1:]) for methods, route in routes):
            yield f"{method} {path}".strip()


def unknown_tables(text: str) -> Iterator[str]:
    """Yield the tables that nothing in `shared/` names."""
    code = "".join(path.read_text() for path in SHARED.rglob("*.py"))
    for name in sorted({name for found in _TABLE.findall(text) for name in found if name}):
        if f'"{name}"' not in code:
            yield name


@pytest.mark.parametrize("document", _CHECKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_only_what_exists(document: Path) -> None:
    text = document.read_text()
    of_others = _OF_OTHERS.get(str(document.relative_to(ROOT)), set())
    assert [name for name in unknown_variables(text) if name not in of_others] == []
    assert [*unknown_telemetry(text)] == []
    assert [*unknown_routes(text)] == []
    assert [*unknown_tables(text)] == []


def test_what_does_not_exist_is_found() -> None:
    variable = "no_such_setting".upper()  # not spelled here, because this file is source, too
    text = (
        f"`{variable}`, `LOG_LEVEL`, `gateway.no_such`, `gateway.alert.kind`, `GET /manage/nothing`, "
        "`GET /manage/status`, `DELETE /manage/status`, `POST /manage/tenants/acme/keys`, table `nosuch`, "
        "table `jobs`, curl $URL/manage/nowhere $URL/readyz"
    )
    assert [*unknown_variables(text)] == [variable]
    assert [*unknown_telemetry(text)] == ["gateway.no_such"]
    assert [*unknown_routes(text)] == ["/manage/nowhere", "DELETE /manage/status", "GET /manage/nothing"]
    assert [*unknown_tables(text)] == ["nosuch"]


def test_operators_find_every_timer_and_what_is_late_with_it() -> None:
    documents_of = {name: (ROOT / "docs" / "guide" / name).read_text() for name in ("operators.md", "runbook.md")}
    for name, text in documents_of.items():
        rows = "\n".join(line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `"))
        assert [timer for timer in SCHEDULES if f"`{timer}`" not in rows] == [], name


def test_alerts_of_every_kind_are_documented() -> None:
    text = (ROOT / "docs" / "reference" / "alerts.md").read_text()
    assert [kind for kind in AlertKind if f"| `tallygate.{kind}` |" not in text] == []


def test_every_protection_that_can_be_switched_off_is_documented() -> None:
    text = (ROOT / "docs" / "reference" / "audit.md").read_text()
    (section,) = re.findall(r"## Protections that are switched off\n(.*?)\n## ", text, re.DOTALL)
    names = {*PROTECTIONS, *WEAK_SETTINGS} - {"weak_settings"}
    assert names == {*re.findall(r"`([A-Za-z_]+)`", section)} - {"weakens", "weak_settings", "false", "true"}
