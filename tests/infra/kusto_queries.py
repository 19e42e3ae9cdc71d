"""Analyse Kusto queries with Microsoft's language service, and collect the queries of the infrastructure."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from local.setup.node_packages import KUSTO, find_node
from shared.domain.telemetry import events, instruments
from shared.domain.telemetry.instruments import InstrumentKind
from tests.infra.workspace_tables import TABLES

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "infra" / "monitoring"
WORKBOOK: dict[str, Any] = json.loads((MONITORING / "workbook.json").read_text())
ALERT_QUERIES: Mapping[str, str] = {
    path.stem: path.read_text() for path in sorted((MONITORING / "queries").glob("*.kql"))
}
SCRIPTS = Path(__file__).parent / "kusto"
SCHEMAS = {
    table: "(" + ", ".join(f"{name}:{kind}" for name, kind in columns.items()) + ")"
    for table, columns in TABLES.items()
}
Rows: TypeAlias = list[dict[str, Any]]
_ANY_EVENT = {"event.name", "gateway.request_id", "gateway.lines_left_out"}


VALUES = {"{Tenant}": "'*'", "{Deployment}": "'*'", "{TimeRange:grain}": "1h"}
"""Texts that the workbook puts in the places of its parameters."""


def items_of(items: Rows) -> Iterator[dict[str, Any]]:
    """Yield the items of a workbook, those of groups too."""
    for item in items:
        yield item
        if item["type"] == 12:
            yield from items_of(item["content"]["items"])


def workbook_queries() -> dict[str, str]:
    """Return the queries of the workbook by the names of their items, and of its parameters."""
    items = list(items_of(WORKBOOK["items"]))
    parameters = [each for item in items if item["type"] == 9 for each in item["content"]["parameters"]]
    found = {item["name"]: item["content"]["query"] for item in items if item["type"] == 3}
    return found | {f"parameter {each['name']}": each["query"] for each in parameters if "query" in each}


def with_values(query: str, values: Mapping[str, str] = VALUES) -> str:
    """Put values in the places of parameters, as the workbook does."""
    for name, value in values.items():
        query = query.replace(name, value)
    return query


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline that reads a table: texts with which it compares columns or properties, and properties."""

    table: str
    texts: Mapping[str, list[str]]
    properties: list[str]
    aggregates: list[str]
    """Functions that take the column `Sum`."""

    def objections(self) -> list[str]:
        """Return what it reads that the gateway does not emit."""
        if self.table == "AppMetrics":
            names = self.texts.get("Name", [])
            return self._unknown(names, instruments_by_name(), set()) + self._wrong_aggregates(names)
        known = {name: set(event.fields) for name, event in events.BY_NAME.items()}
        return self._unknown(self.texts.get("event.name", []), known, _ANY_EVENT)

    def _wrong_aggregates(self, names: list[str]) -> list[str]:
        """Sums and buckets arrive as amounts since the last export, and a gauge as its newest value."""
        kinds = {each.kind for each in instruments.INSTRUMENTS if each.name in names}
        allowed = {"arg_max", "max", "maxif"} if kinds == {InstrumentKind.GAUGE} else {"sum", "sumif"}
        return [f"{'/'.join(names)}: {each}(Sum)" for each in self.aggregates if each not in {*allowed, "isnotnull"}]

    def _unknown(self, names: list[str], known: Mapping[str, set[str]], always: set[str]) -> list[str]:
        if not names:
            return [f"{self.table} is read without a name"]
        unknown = [name for name in names if name not in known]
        fields = [known[name] for name in names if name in known]
        return unknown + [
            f"{'/'.join(names)} has no '{read}'"
            for read in self.properties
            if read not in always and not all(read in each for each in fields)
        ]


@dataclass(frozen=True, slots=True)
class Analysis:
    """The outcome for one query."""

    diagnostics: list[str]
    columns: Mapping[str, str]
    """Types of the columns of the result."""
    pipelines: list[Pipeline]


def instruments_by_name() -> dict[str, set[str]]:
    """Return the dimensions of each instrument."""
    return {each.name: set(each.exported_dimensions) for each in instruments.INSTRUMENTS}


def analyse(queries: Mapping[str, str]) -> dict[str, Analysis]:
    """Analyse queries, by id. Fails in CI where the language service is not installed, else skips the test."""
    node, library = language_service()
    given = {"library": library, "tables": SCHEMAS, "queries": dict(queries)}
    command = [node, str(SCRIPTS / "check.js")]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True, timeout=120)
    return {
        name: Analysis(
            diagnostics=answer["diagnostics"],
            columns=answer["columns"],
            pipelines=[Pipeline(**pipeline) for pipeline in answer["pipelines"]],
        )
        for name, answer in json.loads(done.stdout).items()
    }


class Kusto:
    """A process that runs queries over rows, one run after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, queries: Mapping[str, str], rows: Mapping[str, Rows], now_ms: int) -> dict[str, Rows]:
        """Run queries, by id. Fails for what the process does not know of the language."""
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        given = {"now": now_ms, "queries": dict(queries), "schemas": SCHEMAS, "rows": rows}
        stdin.write(json.dumps(given) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, stderr.read()
        answers: dict[str, Rows] = json.loads(line)
        return answers


@contextmanager
def running_kusto() -> Iterator[Kusto]:
    """Start the process, and end it. Fails and skips as `analyse` does."""
    node, library = language_service()
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([node, str(SCRIPTS / "run.js"), library], text=True, **pipes) as process:
        yield Kusto(process)


def language_service() -> tuple[str, str]:
    """Return the paths of Node and of the language service."""
    found = find_node()
    if found is None or not KUSTO.modules.exists():
        if os.environ.get("CI"):
            pytest.fail("CI needs the Kusto language service; run 'python -m local.setup kusto'.")
        pytest.skip("the Kusto language service is not installed: 'python -m local.setup kusto'")
    return found[0], str(KUSTO.modules / "@kusto" / "language-service-next")
