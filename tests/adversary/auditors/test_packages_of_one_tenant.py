"""Whoever makes a package of one tenant chooses what is in it. What was left out shows, or nothing is said of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.adapters.on_disk.evidence_package import EvidencePackage
from shared.adapters.statements.summary_page import SummaryPage
from shared.application.audit.anchor_heads import AnchorHeads
from shared.cli.offline import Question, verify_files
from shared.cli.verification import Verification
from shared.composition.gateway import Gateway, build
from shared.domain.audit.anchor_files import ChainHead, unread_head
from shared.settings import read_settings
from tests.adversary import second_verifier
from tests.adversary.auditors.test_second_verifier import keys
from tests.tools.finished_month import (
    PERIOD,
    FinishedMonth,
    MonthClock,
    _Month,
    copied,
    environment,
    export_evidence,
    write_key,
    write_month,
)
from tests.tools.tampering import Books, Package

Change = Callable[[Package], None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedMonth:
    return write_month(tmp_path_factory.mktemp("month"))


@pytest.fixture
def month(finished: FinishedMonth, tmp_path: Path) -> FinishedMonth:
    return copied(finished, tmp_path)


def verified(month: FinishedMonth) -> Verification:
    question = Question(archive=month.of_acme, public_keys=[month.public_key])
    (result,) = asyncio.run(verify_files(question, lambda _done, _total: None))
    second = second_verifier.verify_package(month.of_acme.read_bytes(), keys(month))
    assert second_verifier.status(second) == result.status, (second, result.findings)
    return result


def without_later_proofs(package: Package, seq: int) -> None:
    lines = package.files["proofs/heads.jsonl"].splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["head"]["seq"] <= seq]
    assert 0 < len(kept) < len(lines)
    package.files["proofs/heads.jsonl"] = b"".join(kept)


def summarized(month: FinishedMonth, package: Package) -> None:
    """Leave the statements out, and write a page that fits."""
    own = EvidencePackage(month.of_acme)
    log, facts = own.log(), own.facts
    for name in [name for name in package.files if name.startswith("statements/")]:
        del package.files[name]
    checkpoint = (log.newest_checkpoint() or b"").decode()
    package.files["summary.html"] = SummaryPage().render(facts, [(PERIOD, None)], log.signed_size(), checkpoint, [])


def test_a_whole_package_proves_what_it_has(month: FinishedMonth) -> None:
    result = verified(month)
    assert (result.status, result.findings) == (0, [])
    assert "No lane that was anchored is missing." not in result.proved
    reasons = [each.reason for each in result.not_checked]
    assert "lanes of acme that the package leaves out: only a package of all tenants shows them" in reasons


def test_entries_of_a_closed_month_that_were_left_out_with_their_proofs_show(month: FinishedMonth) -> None:
    """The books are those of the middle of the month, and the proofs of later heads are gone."""
    package = Package(month.of_acme)
    early = Books.read(month.early.read_bytes())
    early.rows = [row for row in early.rows if "acme|00" in row[1:3]]
    package.files[f"periods/{PERIOD}.gz"] = early.content()
    without_later_proofs(package, 13)
    summarized(month, package)
    package.write()
    result = verified(month)
    assert [each.message for each in result.findings] == [
        "the newest head is that of entry 13, which does not close the lane: later ones are left out"
    ]
    assert result.proved == []


# A month that is not over


async def _write(month: FinishedMonth, then: Callable[[_Month, Gateway], object]) -> None:
    clock = MonthClock()
    gateway = await build(read_settings(), clock)
    made = _Month(gateway, clock)
    try:
        await made._configure()
        await gateway.ledger.open_period()
        await made._serve("acme", 3)
        await made.anchor()
        await gateway.ledger.archive.export(PERIOD, month.early)
        await then(made, gateway)  # type: ignore[misc]
        await export_evidence(gateway, month.of_acme, "acme")
    finally:
        await gateway.aclose()


def open_month(folder: Path, then: Callable[[_Month, Gateway], object]) -> FinishedMonth:
    signing, public = write_key(folder)
    names = ("books", "early", "checkpoints", "package", "proofs", "of_acme")
    month = FinishedMonth(**{name: folder / name for name in names}, public_key=public, signing_key=signing)
    with environment(AUDIT_SIGNING_KEY_FILE=str(signing), AUDIT_ANCHOR_ORIGIN="tallygate/books"):
        asyncio.run(_write(month, then))
    return month


def test_entries_of_an_open_month_that_were_left_out_with_their_proofs_show(tmp_path: Path) -> None:
    async def serve(made: _Month, _: Gateway) -> None:
        await made._serve("acme", 2)
        await made.anchor(2)

    month = open_month(tmp_path, serve)
    assert verified(month).findings == []
    package = Package(month.of_acme)
    early = Books.read(month.early.read_bytes())
    early.rows = [row for row in early.rows if "acme|00" in row[1:3]]
    package.files[f"periods/{PERIOD}.gz"] = early.content()
    without_later_proofs(package, 3)
    package.write()
    assert [each.message for each in verified(month).findings] == [
        "the package does not prove the lane's head in the newest leaf"
    ]


def test_a_lane_that_could_not_be_read_at_last_is_no_violation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unread(made: _Month, _: Gateway) -> None:
        sound = AnchorHeads._sound

        def damaged(self: AnchorHeads, head: ChainHead, failures: object) -> ChainHead:
            return unread_head(head.chain) if "acme" in head.chain else sound(self, head, failures)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(AnchorHeads, "_sound", damaged)
            await made.anchor()

    assert verified(open_month(tmp_path, unread)).findings == []
