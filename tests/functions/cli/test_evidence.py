"""`tallygate evidence`: one file that holds everything, that shows one tenant nothing of another, and that verifies."""

from __future__ import annotations

import asyncio
import gzip
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.statements.summary_page import SummaryPage
from shared.application.ports.evidence import PackageFacts
from shared.cli.__main__ import run
from shared.composition.gateway import build
from shared.domain.identifiers import BillingPeriod
from shared.settings import read_settings
from tests.tools.finished_month import (
    PERIOD,
    FinishedMonth,
    MonthClock,
    environment,
    export_evidence,
    serve,
    write_month,
)
from tests.tools.stack import CHAIN_KEY
from tests.tools.tampering import Package

DONE, VIOLATED, NO_ANSWER = 0, 1, 2
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> FinishedMonth:
    return write_month(tmp_path_factory.mktemp("month"))


def verified(capsys: Captured, archive: Path, *more: str) -> tuple[int, Any]:
    status = run(["verify", "--archive", str(archive), *more, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_package_is_proved_by_its_own_log(month: FinishedMonth, capsys: Captured) -> None:
    status, document = verified(capsys, month.package, "--public-key", str(month.public_key), "--sha256-only")
    assert (status, document["findings"]) == (DONE, [])
    assert [name for name, holds in document["holds"].items() if not holds] == ["I13", "I14", "I17"]
    assert any("events of the audit log of " in each for each in document["proved"])


def test_a_package_of_one_tenant_is_proved_and_holds_nothing_of_others(month: FinishedMonth, capsys: Captured) -> None:
    status, document = verified(capsys, month.of_acme, "--public-key", str(month.public_key))
    assert (status, document["findings"], document["tenants"]) == (DONE, [], 1)
    files = Package(month.of_acme).files
    assert [name for name in files if name.startswith(("anchors/heads", "audit/"))] == []
    for name, content in files.items():
        text = gzip.decompress(content) if name.endswith(".gz") else content
        assert [other for other in (b"bolt", b"Bolt", b"hot|", b"Hot GmbH") if other in text] == [], name


def test_a_package_without_a_key_says_that_a_rollback_was_not_checked(month: FinishedMonth, capsys: Captured) -> None:
    status, document = verified(capsys, month.package)
    assert (status, document["findings"]) == (NO_ANSWER, [])
    assert any("only checkpoints show it" in each["reason"] for each in document["not_checked"])
    assert "proved" not in document


def test_a_package_is_verified_against_the_auditors_own_log(month: FinishedMonth, capsys: Captured) -> None:
    own = ("--public-key", str(month.public_key), "--checkpoints", str(month.checkpoints))
    assert verified(capsys, month.package, *own)[0] == DONE
    assert verified(capsys, month.of_acme, *own, "--tenant", "acme")[0] == DONE


def test_the_same_content_gives_the_same_bytes(month: FinishedMonth) -> None:
    with zipfile.ZipFile(month.package) as file:
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        manifest = json.loads(file.read("manifest.json"))
    assert [each["name"] for each in manifest["files"]] == sorted(each["name"] for each in manifest["files"])
    assert (manifest["format"], manifest["tenant"], manifest["periods"]) == ("tallygate-evidence-1", None, [PERIOD])


def test_no_secret_is_in_a_package(month: FinishedMonth) -> None:
    for content in Package(month.package).files.values():
        assert CHAIN_KEY.encode() not in content


async def write_while_the_month_ends(path: Path, tenant: str | None) -> None:
    """Make a package of a month that is closed, and whose statements are written, right after its books are copied."""
    clock = MonthClock()
    gateway = await build(read_settings(), clock)
    evidence: Any = gateway.evidence
    copy_books = evidence._books.export

    async def export(*args: Any, **options: Any) -> int:
        count: int = await copy_books(*args, **options)
        clock.moment = datetime(2026, 11, 3, 3, tzinfo=UTC)
        await gateway.billing.export_chargeback()
        assert await gateway.billing.periods._is_exported(BillingPeriod.parse(PERIOD))
        return count

    try:
        await serve(gateway, clock)
        await gateway.audit.chain_events()
        evidence._books.export = export
        await export_evidence(gateway, path, tenant)
    finally:
        await gateway.aclose()


@pytest.mark.parametrize("tenant", [None, "acme"])
def test_a_month_that_ends_while_its_package_is_made_is_no_violation(
    tenant: str | None, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "evidence.zip"
    with environment():
        asyncio.run(write_while_the_month_ends(path, tenant))
    assert verified(capsys, path)[1]["findings"] == []


@pytest.mark.parametrize("content", [b"", b"no zip"])
def test_a_zip_file_that_is_no_package_ends_with_no_answer(content: bytes, tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("manifest.json", content)
    assert run(["verify", "--archive", str(path)]) == NO_ANSWER
    assert "is no evidence package" in capsys.readouterr().err


def test_a_package_that_names_a_file_twice_is_refused(month: FinishedMonth, tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "twice.zip"
    path.write_bytes(month.package.read_bytes())
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("summary.html", "other")
    assert run(["verify", "--archive", str(path)]) == NO_ANSWER
    assert "names a file twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["periods/2026-10.gz", "audit/", "anchors/leaf/0000000001.json", "configuration.jsonl", "summary.html"]
)
def test_a_package_with_damaged_bytes_is_told(
    name: str, month: FinishedMonth, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "damaged.zip"
    content = bytearray(month.package.read_bytes())
    with zipfile.ZipFile(month.package) as file:
        info = next(each for each in file.infolist() if each.filename.startswith(name))
    content[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 0xFF
    path.write_bytes(content)
    assert run(["verify", "--archive", str(path), "--public-key", str(month.public_key)]) in {VIOLATED, NO_ANSWER}
    told = capsys.readouterr()
    assert "damaged" in told.err or info.filename in told.out


def test_a_gateway_without_books_writes_a_package_that_says_so(tmp_path: Path, capsys: Captured) -> None:
    with environment():
        assert run(["evidence", "--period", PERIOD, "--period", "2026-09", "--file", str(tmp_path / "e.zip")]) == DONE
        assert "The evidence of 2026-09, 2026-10 is in " in capsys.readouterr().out
        assert run(["evidence", "--period", PERIOD, "--tenant", "x", "--file", str(tmp_path / "x.zip")]) == NO_ANSWER
        assert "No tenant 'x' is registered." in capsys.readouterr().err
        told = ["evidence", "--period", PERIOD, "--file", str(tmp_path / "j.zip"), "--json"]
        assert (run(told), json.loads(capsys.readouterr().out)["periods"]) == (DONE, [PERIOD])
    _, document = verified(capsys, tmp_path / "e.zip")
    assert [each["tenants"] for each in document["periods"]] == [0, 0]
    page = Package(tmp_path / "e.zip").files["summary.html"].decode()
    assert "no final statement yet" in page
    assert "Ledger entries" not in page  # nothing is added up, which would look like no consumption
    assert "<p>There is none.</p>" in page


def test_texts_of_tenants_are_no_markup() -> None:
    facts = PackageFacts(origin="<b>", tenant="<script>", periods=["2026-10"])
    page = SummaryPage().render(facts, [("2026-10", None)], 1, "<i>", []).decode()
    assert [each for each in ("<b>,", "<script>", "<i>") if each in page] == []
    assert "&lt;script&gt;" in page
