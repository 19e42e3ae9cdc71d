"""Analyse Kusto queries with Microsoft's language service, and collect the queries of the infrastructure."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.setup.node_packages import KUSTO, find_node
from shared.domain.telemetry import events, instruments
from shared.domain.telemetry.instruments import InstrumentKind
from tests.infra.workspace_tables import TABLES

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "infra" / "monitoring"
ALERT_QUERIES: Mapping[str, str] = {
    path.stem: path.read_text() for path in sorted((MONITORING / "queries").glob("*.kql"))
}
_ANY_EVENT = {"event.name", "gateway.request_id", "gateway.lines_left_out"}


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
    found = find_node()
    if found is None or not KUSTO.modules.exists():
        if os.environ.get("CI"):
            pytest.fail("CI needs the Kusto language service; run 'python -m local.setup kusto'.")
        pytest.skip("the Kusto language service is not installed: 'python -m local.setup kusto'")
    schemas = {
        table: "(" + ", ".join(f"{name}:{kind}" for name, kind in columns.items()) + ")"
        for table, columns in TABLES.items()
    }
    library = str(KUSTO.modules / "@kusto" / "language-service-next")
    given = {"library": library, "tables": schemas, "queries": dict(queries)}
    script = Path(__file__).parent / "kusto" / "check.js"
    done = subprocess.run(
        [found[0], str(script)], input=json.dumps(given), capture_output=True, text=True, check=True, timeout=120
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    return {
        name: Analysis(
            diagnostics=answer["diagnostics"],
            columns=answer["columns"],
            pipelines=[Pipeline(**pipeline) for pipeline in answer["pipelines"]],
        )
        for name, answer in answers.items()
    }
