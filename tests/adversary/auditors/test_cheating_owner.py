"""An owner who has the chain key makes a package that agrees with itself, and hides something from its auditor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.adversary.auditors.test_tampered_month import complaints
from tests.tools.finished_month import PERIOD, FinishedMonth, copied, write_month
from tests.tools.tampering import Books, Package

Files: TypeAlias = dict[str, bytes]
STATEMENTS = f"statements/{PERIOD}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedMonth:
    return write_month(tmp_path_factory.mktemp("month"))


@pytest.fixture
def month(finished: FinishedMonth, tmp_path: Path) -> FinishedMonth:
    return copied(finished, tmp_path)


def told(month: FinishedMonth, path: Path, change: Callable[[Files], None]) -> list[str]:
    """Change a package and its manifest. Returns everything that is wrong with it, in words."""
    package = Package(path)
    change(package.files)
    package.write()
    return [each.strip() for each in complaints(month, path, checkpoints=False)]


def with_manifest(**facts: Any) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files["manifest.json"] = json.dumps(json.loads(files["manifest.json"]) | facts, indent=2).encode()

    return change


STRANGE = [
    "evil.html",
    f"{STATEMENTS}/corrected.csv",
    "statements/2026-09/manifest.json",
    "audit/x.jsonl",
    "anchors/subtrees/0000000064.json",
    "anchors/checkpoint/0000000000",
    "documents2.jsonl",
    "../../etc/passwd",
    "/absolute",
]


@pytest.mark.parametrize("name", STRANGE)
def test_a_file_that_no_check_reads_does_not_belong_into_a_package(name: str, month: FinishedMonth) -> None:
    for path in (month.package, month.of_acme):
        assert f"{name} does not belong into the package" in told(month, path, lambda files: files.update({name: b"x"}))


@pytest.mark.parametrize("name", ["documents.jsonl", "audit/2026-11.jsonl", "anchors/heads/0000000000.json"])
def test_a_package_of_one_tenant_has_no_files_about_others(name: str, month: FinishedMonth) -> None:
    content = Package(month.package).files[name]
    found = told(month, month.of_acme, lambda files: files.update({name: content}))
    assert f"{name} does not belong into the package" in found


def test_the_statement_of_a_month_whose_manifest_cannot_be_read_does_not_belong(month: FinishedMonth) -> None:
    found = told(month, month.of_acme, lambda files: files.update({f"{STATEMENTS}/manifest.json": b"{}"}))
    assert f"{STATEMENTS}/statements.csv does not belong into the package" in found


def test_statements_cannot_be_left_out_of_a_package(month: FinishedMonth) -> None:
    """The page would say that the period has no final statement yet."""

    def change(files: Files) -> None:
        for name in [each for each in files if each.startswith("statements/")]:
            del files[name]

    message = f"the statements of {PERIOD} are missing, and the audit log says that they were written"
    assert message in told(month, month.package, change)


def test_a_tenant_cannot_be_named_whose_books_hide_those_of_others(month: FinishedMonth) -> None:
    found = told(month, month.package, with_manifest(tenant="bolt"))
    for lane in ("acme|00", "hot|00", "hot|01"):
        message = f"the lane is of another tenant than the one of the package registry {PERIOD} {lane}"
        assert message in found


def test_rows_of_another_tenant_in_a_package_of_one_are_found(month: FinishedMonth) -> None:
    def change(files: Files) -> None:
        books = Books.read(files[f"periods/{PERIOD}.gz"])
        books.rows.append(("rollup202610", "zeta|00", "W", {"seq": 0}))
        files[f"periods/{PERIOD}.gz"] = books.content()

    found = told(month, month.of_acme, change)
    assert f"the lane is of another tenant than the one of the package registry {PERIOD} zeta|00" in found


def test_the_log_that_a_package_names_is_the_one_that_signed(month: FinishedMonth) -> None:
    """The page, which names it, is rendered anew."""

    def change(files: Files) -> None:
        with_manifest(origin="books.example")(files)
        files["summary.html"] = files["summary.html"].replace(b"anchors: tallygate/books", b"anchors: books.example")
        files["summary.html"] = files["summary.html"].replace(b"log tallygate/books", b"log books.example")

    assert told(month, month.of_acme, change) == ["the manifest names another log than the checkpoints"]


def _with(name: str, number: int, change: Callable[[dict[str, Any]], None]) -> Callable[[Files], None]:
    """Change a line of a file, which is canonical JSON afterwards, too."""

    def both(files: Files) -> None:
        lines = files[name].splitlines(keepends=True)
        row = json.loads(lines[number])
        change(row)
        lines[number] = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        files[name] = b"".join(lines)

    return both


def test_the_first_line_of_an_audit_log_has_no_other_properties(month: FinishedMonth) -> None:
    name = "audit/2026-11.jsonl"
    found = told(month, month.package, _with(name, 0, lambda row: row.update(note="all is well")))
    assert found == ["audit log of 2026-11: the file is not an audit log of 2026-11 auditlog 2026-11"]
    found = told(month, month.package, _with(name, 0, lambda row: row["deleted"].update(note="x")))
    assert any("the file begins with another genesis" in each for each in found)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.update(note=1),
        lambda row: row["head"].update(note=1),
        lambda row: row["heads"].update(note=1),
        lambda row: row.update(n=str(row["n"])),
        lambda row: row["heads"].update(index=float(row["heads"]["index"])),
        lambda row: row.update(heads=[]),
    ],
)
def test_a_proof_of_a_head_has_one_form(change: Callable[[dict[str, Any]], None], month: FinishedMonth) -> None:
    found = told(month, month.of_acme, _with("proofs/heads.jsonl", 0, change))
    assert any("line 1 does not prove that its head is in its leaf" in each for each in found)


def test_a_name_that_a_proof_has_twice_is_found(month: FinishedMonth) -> None:
    def change(files: Files) -> None:
        files["proofs/heads.jsonl"] = files["proofs/heads.jsonl"].replace(b'"n":0', b'"n":9,"n":0')

    assert any("line 1 does not prove" in each for each in told(month, month.of_acme, change))


@pytest.mark.parametrize("change", [lambda files: files.reverse(), lambda files: files.append(files[-1])])
def test_the_manifest_names_each_file_once_and_in_order(
    change: Callable[[list[Any]], None], month: FinishedMonth
) -> None:
    package = Package(month.package)
    package.write()
    manifest = json.loads(package.files["manifest.json"])
    change(manifest["files"])
    package.files["manifest.json"] = json.dumps(manifest, indent=2).encode() + b"\n"
    package.write(with_manifest=False)
    found = [each.strip() for each in complaints(month, month.package, checkpoints=False)]
    assert found == ["the manifest does not name each other file once, in their order"]


def test_statements_of_another_month_are_found(month: FinishedMonth) -> None:
    """Nothing but the archive's month tells it in a package of one tenant."""

    def change(files: Files) -> None:
        for name in ("statements.json", "statements.csv", "manifest.json"):
            files[f"{STATEMENTS}/{name}"] = files[f"{STATEMENTS}/{name}"].replace(b"2026-10", b"2026-09")

    found = told(month, month.of_acme, change)
    assert f"the manifest is of 2026-09, not of {PERIOD}" in found
    assert f"statements.json is of 2026-09, not of {PERIOD}" in found


def test_the_manifest_of_statements_has_no_other_properties(month: FinishedMonth) -> None:
    def change(files: Files) -> None:
        name = f"{STATEMENTS}/manifest.json"
        files[name] = files[name].replace(b"{\n", b'{\n  "audited_by": "somebody",\n', 1)

    assert told(month, month.of_acme, change) == [f"the manifest of {PERIOD} is not in its form"]
