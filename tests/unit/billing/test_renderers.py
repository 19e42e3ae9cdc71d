"""The stored formats of statement files never change, and files read back as they were written."""

from __future__ import annotations

from pathlib import Path

from shared.adapters.statements.all_renderers import RENDERERS
from shared.adapters.statements.json_manifest import JsonManifest
from shared.adapters.statements.json_statements import JsonStatements
from shared.domain.billing.manifest import StatementFile, manifest_of
from shared.domain.billing.statements import period_statements
from tests.unit.billing.sample_statements import CLOSED_AT, STATEMENTS

WRITTEN = Path(__file__).parents[2] / "corpus" / "statements"
PERIOD = period_statements("2026-11", CLOSED_AT, STATEMENTS)


def test_statements_and_manifest_are_written_to_unchanged_bytes() -> None:
    contents = {each.file_name: each.render(PERIOD) for each in RENDERERS}
    manifest = manifest_of(PERIOD, [StatementFile.of(name, content) for name, content in contents.items()])
    contents["manifest.json"] = JsonManifest().render(manifest)
    assert contents == {path.name: path.read_bytes() for path in WRITTEN.iterdir()}
    assert [file.name for file in manifest.files] == ["statements.json", "statements.csv"]


def test_statements_and_manifest_read_back() -> None:
    assert JsonStatements().read((WRITTEN / "statements.json").read_bytes()) == PERIOD
    files = [StatementFile.of(each.file_name, each.render(PERIOD)) for each in RENDERERS]
    assert JsonManifest().read((WRITTEN / "manifest.json").read_bytes()) == manifest_of(PERIOD, files)
