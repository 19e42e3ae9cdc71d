"""Evidence that lacks parts, or has strange ones: each is told, and none stops the verifier."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.adapters import ecdsa_keys
from shared.adapters.on_disk import evidence_package, log_files
from shared.adapters.on_disk.dated_heads import DiskDatedHeads
from shared.application.evidence.head_proofs import add_proved_heads
from shared.application.evidence.replay_audit import ReplayAudit, is_configuration
from shared.cli.__main__ import run
from shared.domain.audit.anchor_files import ChainHead
from shared.domain.audit.audit_chain import audit_genesis
from shared.domain.audit.hash_chain import ChainVerifier, HashChain, KeyRing, canonical
from shared.domain.audit.key_ends import KeyEnds
from shared.domain.audit.merkle import tree_root
from tests.adversary.auditors.test_tampered_month import ACME, LEDGER, complaints, repeat
from tests.tools.anchor_logs import START, WrittenLog, signing_key, unread
from tests.tools.finished_month import PERIOD, FinishedMonth, copied, write_month
from tests.tools.tampering import Books, Package

BOOKS = f"periods/{PERIOD}.gz"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedMonth:
    return write_month(tmp_path_factory.mktemp("month"))


@pytest.fixture
def month(finished: FinishedMonth, tmp_path: Path) -> FinishedMonth:
    return copied(finished, tmp_path)


def change_books(month: FinishedMonth, change: Callable[[Books], Any]) -> list[str]:
    """Change the books in a package. Returns the complaints."""
    package = Package(month.package)
    books = Books.read(package.files[BOOKS])
    change(books)
    package.files[BOOKS] = books.content()
    package.write()
    return complaints(month, month.package, checkpoints=False)


def has(found: list[str], text: str) -> bool:
    return any(text in each for each in found)


def test_a_file_that_no_manifest_names_is_told(month: FinishedMonth) -> None:
    package = Package(month.package)
    package.files["extra.txt"] = b"x"
    package.write(with_manifest=False)
    assert has(complaints(month, month.package, checkpoints=False), "extra.txt is not in the manifest")


def test_a_file_that_would_exhaust_memory_is_not_read(month: FinishedMonth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "MAX_FILE_BYTES", 100)
    assert has(complaints(month, month.books), "cannot be read")
    monkeypatch.setattr(evidence_package, "MAX_FILE_BYTES", 5000)
    package = Package(month.package)
    package.files["anchors/heads/0000000001.json"] = b"[" * 6000
    package.write()
    assert has(complaints(month, month.package, checkpoints=False), "heads of leaf 1 cannot be read")


def test_the_audit_log_of_an_anchored_month_cannot_be_left_out(month: FinishedMonth) -> None:
    package = Package(month.package)
    (name,) = [name for name in package.files if name.startswith("audit/")]
    del package.files[name]
    package.files["configuration.jsonl"] = b""
    package.write()
    assert has(complaints(month, month.package, checkpoints=False), "is missing, and was anchored")


def test_books_of_another_period_are_told(month: FinishedMonth) -> None:
    found = change_books(month, lambda books: books.head.update(period="2026-09"))
    assert has(found, "the books of 2026-10 are those of 2026-09")


@pytest.mark.parametrize(
    "change",
    [
        lambda books: books.rows.remove(books.find(lambda row: row[1:3] == (ACME, "B"))),
        lambda books: books.find(lambda row: row[1:3] == (ACME, "B"))[3].update(used_tokens="many"),
        lambda books: books.entries(ACME)[1][3].update(kind="gift"),
    ],
    ids=["no balance", "an unreadable balance", "an unreadable entry"],
)
def test_statements_beside_books_that_cannot_be_read_are_told(
    change: Callable[[Books], Any], month: FinishedMonth
) -> None:
    assert has(change_books(month, change), ACME)


def test_a_lane_without_entries_that_nobody_anchored_is_told_once_the_period_is_final(month: FinishedMonth) -> None:
    books = Books.read(month.books.read_bytes())
    balance = copy.deepcopy(books.find(lambda row: row[1:3] == ("bolt|00", "B"))[3])
    books.rows += [("registry", PERIOD, "ghost|00", {}), (LEDGER, "ghost|00", "B", {**balance, "seq": 0})]
    month.books.write_bytes(books.content())
    assert has(complaints(month, month.books), "the lane is in no leaf, although all lanes of its period are closed")


def test_an_entry_that_claims_to_be_old_should_have_been_anchored(month: FinishedMonth) -> None:
    books = Books.read(month.early.read_bytes())
    for kind in ("leaf", "heads", "checkpoint"):
        for path in sorted((month.checkpoints / kind).iterdir())[4:]:
            path.unlink()
    month.books.write_bytes(books.content())
    assert complaints(month, month.books) == []
    for text, is_told in (("2026-10-05T12:00:01.000Z", True), ("yesterday", False)):
        forged = copy.deepcopy(books)
        repeat(forged, "bolt|00")
        forged.entries("bolt|00")[-1][3]["timestamp"] = text
        forged.rechain("bolt|00", PERIOD)
        month.books.write_bytes(forged.content())
        assert has(complaints(month, month.books), "and in no leaf, although there are leaves up to") is is_told


def write_log(month: FinishedMonth, log: WrittenLog) -> None:
    """Let the month have another log."""
    for path, content in log.files.items():
        (month.checkpoints / path).write_bytes(content)
    month.public_key.write_text(ecdsa_keys.pem_of(ecdsa_keys.of_key(signing_key().public_key())))


@pytest.fixture
def other_log(month: FinishedMonth, tmp_path: Path) -> FinishedMonth:
    """A month whose log is gone, and whose key a test knows."""
    for path in month.checkpoints.rglob("0*"):
        path.unlink()
    return FinishedMonth(
        books=month.books,
        early=month.early,
        checkpoints=month.checkpoints,
        public_key=tmp_path / "public.pem",
        signing_key=month.signing_key,
        package=month.package,
        of_acme=month.of_acme,
        proofs=month.proofs,
    )


def test_a_lane_that_was_anchored_with_another_genesis_is_told(other_log: FinishedMonth) -> None:
    log = WrittenLog()
    log.write(ChainHead(chain=f"ledger/{PERIOD}/{ACME}", seq=0, head="0" * 64))
    write_log(other_log, log)
    assert has(complaints(other_log, other_log.books), "has another genesis of the lane")


def test_many_notes_are_counted(other_log: FinishedMonth, capsys: pytest.CaptureFixture[str]) -> None:
    log = WrittenLog()
    for number in range(25):
        log.write(at=START + timedelta(hours=number))
    write_log(other_log, log)
    files = ["--archive", str(other_log.books), "--checkpoints", str(other_log.checkpoints)]
    run(["verify", *files, "--public-key", str(other_log.public_key)])
    assert "... and 4 more notes; --json prints all" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b"[]",
        b'{"head":{"chain":"ledger/2026-10/acme|00","head":"00","seq":1},"heads":{"index":0,"path":[],"size":1},"n":1}',
        b'{"head":{"chain":"ledger/2026-10/acme|00","head":"00","seq":1},"heads":{"index":0,"path":["?"],"size":1},"n":1}',
    ],
)
def test_a_line_that_proves_no_head_is_told(line: bytes, month: FinishedMonth) -> None:
    package = Package(month.of_acme)
    package.files["proofs/heads.jsonl"] += line + b"\n"
    package.write()
    assert has(complaints(month, month.of_acme, checkpoints=False), "does not prove that its head is in its leaf")


def audit_lines(*event_ids: str, deleted: int = 0, events: Sequence[str] = ()) -> list[bytes]:
    """Return an audit log of some events, of which the first are deleted."""
    chain, head = HashChain(KeyRing(keys={"0": b"k"})), audit_genesis(PERIOD)
    heads, lines = [head], list[bytes]()
    for seq, event_id in enumerate(event_ids, 1):
        fields: dict[str, Any] = {"seq": seq, "event_id": event_id, "event": events[seq - 1] if events else "{}"}
        head = chain.seal(head, fields)
        heads.append(head)
        lines.append(canonical(fields))
    stated = {"format": "tallygate-audit-1", "period": PERIOD, "seq": len(event_ids), "head": head}
    first = {**stated, "deleted": {"seq": deleted, "head": heads[deleted]}}
    return [json.dumps(first, sort_keys=True, separators=(",", ":")).encode(), *lines[deleted:]]


def replayed(lines: list[bytes], heads: DiskDatedHeads | None = None, period: str = PERIOD) -> tuple[str, str]:
    """Return what is wrong, and what is not checked."""
    replay = ReplayAudit(period, ChainVerifier({}), heads, set, hashlib.sha256(), lambda _: None)
    found = "\n".join(each.message for each in replay(lines))
    return found, "\n".join(each.reason for each in replay.not_checked())


@pytest.mark.parametrize(("end", "count"), [("", 3), ("2026-11", 3), ("2026-12", 0)])
def test_events_that_a_key_signed_after_its_end_are_told(end: str, count: int) -> None:
    events = [f'{{"at":"2026-11-0{day}"}}' for day in (1, 2, 3)]
    lines = audit_lines(*"abc", events=events)
    replay = ReplayAudit(
        PERIOD, ChainVerifier({}), None, set, hashlib.sha256(), lambda _: None, {"0": end or "2026-11", "1": "2020"}
    )
    found = [each.message for each in replay(lines)]
    assert (len(found), all("signed by key version 0" in each for each in found)) == (count, True)
    assert [*ReplayAudit(PERIOD, ChainVerifier({}), None, set, hashlib.sha256(), lambda _: None)(lines)] == []
    assert KeyEnds({"0": "2026-11"}).fault("0", "[]") == ""


def test_an_audit_log_whose_first_events_retention_has_deleted_is_verified_from_there() -> None:
    lines = audit_lines("a", "b", "c", deleted=2)
    heads = DiskDatedHeads()
    heads.add([ChainHead(chain=f"audit/{PERIOD}", seq=3, head=json.loads(lines[0])["head"])], 0, "2026-10-05")
    assert replayed(lines, heads) == ("", "")
    assert "the last 1 events" in replayed(lines)[1]
    heads.add([ChainHead(chain=f"audit/{PERIOD}", seq=2, head="0" * 64)], 0, "2026-10-05")
    assert "entry 2 has another hash than in leaf 0" in replayed(lines, heads)[0]


def test_an_audit_log_with_strange_lines_is_told() -> None:
    assert "is not an audit log of 2026-09" in replayed(audit_lines("a"), period="2026-09")[0]
    assert "chains an event again" in replayed(audit_lines("a", "a"))[0]
    assert "not in its canonical form" in replayed([*audit_lines("a"), b"[1]"])[0]


@pytest.mark.parametrize("text", ["", "no json", "[]", "[" * 100_000, '{"place":""}', '{"place":7}'])
def test_a_text_that_is_no_event_is_no_configuration(text: str) -> None:
    assert is_configuration(text) is (text == '{"place":7}')


def test_the_history_of_a_tenant_is_its_own_and_that_of_prices() -> None:
    places = (
        "tenants/tenant/acme",
        "credentials/acme/k1",
        "prices/gpt-4o/x",
        "backends/backend/se",
        "tenants/tenant/bolt",
    )
    own = [place for place in places if is_configuration(json.dumps({"place": place}), "acme")]
    assert own == list(places[:3])


def test_a_gzip_file_that_was_cut_in_a_package_is_told(month: FinishedMonth) -> None:
    package = Package(month.package)
    package.files[BOOKS] = gzip.compress(gzip.decompress(package.files[BOOKS])[:-10])
    package.write()
    assert has(complaints(month, month.package, checkpoints=False), "is damaged or cut off")


def test_a_package_with_a_compression_that_the_gateway_never_uses_is_refused(month: FinishedMonth) -> None:
    with zipfile.ZipFile(month.package, "a", zipfile.ZIP_BZIP2) as file:
        file.writestr("bomb", b"0" * 1000)
    assert has(complaints(month, month.package, checkpoints=False), "is no evidence package, or is damaged")


def test_a_head_that_could_not_be_read_is_proved_and_says_nothing() -> None:
    head, heads = unread("acme|00"), DiskDatedHeads()
    line = {"head": json.loads(head.to_bytes()), "heads": {"index": 0, "path": [], "size": 1}, "n": 0}
    roots = {0: tree_root([head.to_bytes()])}
    assert [*add_proved_heads([canonical(line)], roots, {0: ""}, heads, set())] == []
    assert heads.last(head.chain) is None
