"""Anchored books: what is put back, taken away or written anew shows, also if the attacker has the chain key.

The attackers differ in what they can write: tables, the container before its policy is locked, and with which keys.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from azure.storage.blob import BlobServiceClient

from local.azurite_server import ACCOUNT
from shared import timers
from shared.adapters import ecdsa_keys
from shared.cli import verification
from shared.cli.__main__ import run
from shared.composition.gateway import Gateway, build
from shared.composition.process import close_current_gateway
from shared.domain.audit.anchor_files import (
    Leaf,
    checkpoint_path,
    format_heads,
    heads_path,
    heads_root,
    leaf_path,
    parse_heads,
    parse_leaf,
)
from shared.domain.audit.audit_chain import WaitingEvent
from shared.domain.audit.checkpoint import Checkpoint, format_checkpoint
from shared.domain.audit.merkle import tree_root
from shared.domain.audit.signed_note import NoteSignature, format_note, key_id
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account
from shared.generated_secrets import generate_key_file
from shared.settings import read_settings
from tests.adversary.auditors.conftest import CLOSED, OPEN, Entity, KeptBooks, _serve
from tests.adversary.auditors.test_tampering import remove_tenant_and_document
from tests.tools.audit_logs import event_at
from tests.tools.stack import CHAIN_KEY

HOLDS, VIOLATED, NO_ANSWER = 0, 1, 2
LEDGER: Final = "ledger" + OPEN.replace("-", "")
ACME: Final = Account(tenant_id="acme", period=OPEN, limit=Limit(2100, 5 * 10**12))
Captured = pytest.CaptureFixture[str]
Rows = dict[tuple[str, str, str], Entity]


@dataclass
class Anchored:
    """Kept books with three leaves: acme made a request before each of the last two."""

    books: KeptBooks
    key: Path
    container: Any
    before: Rows
    """All rows as they were at the first leaf."""

    def files(self) -> dict[str, bytes]:
        return {name: self.container.download_blob(name).readall() for name in self.container.list_blob_names()}

    def write(self, files: dict[str, bytes]) -> None:
        for path, content in files.items():
            self.container.upload_blob(path, content, overwrite=True)

    def remove(self, *paths: str) -> None:
        for path in paths:
            self.container.delete_blob(path)

    def leaves(self) -> list[Leaf]:
        files = self.files()
        return [parse_leaf(files[name]) for name in sorted(files) if name.startswith("leaf/")]

    def sign_all(self, key: Path) -> None:
        """Write every checkpoint anew, with a key."""
        files = self.files()
        leaves = [files[name] for name in sorted(files) if name.startswith("leaf/")]
        private, _ = ecdsa_keys.read_pem(key.read_bytes())
        origin = f"tallygate/{ACCOUNT}"
        name = key_id(origin, ecdsa_keys.of_key(private[0].public_key()).encoded)
        for size in range(1, len(leaves) + 1):
            text = format_checkpoint(Checkpoint(origin, size, tree_root(leaves[:size])))
            signature = NoteSignature(name, ecdsa_keys.sign(private[0], text.encode()))
            self.write({checkpoint_path(size): format_note(text, [signature]).encode()})

    def restore(self) -> None:
        """Put all rows back to the first leaf, but what the gateway remembers of the log."""
        now = self.books.tables.every_row()
        self.books.tables.restore(self.before | {place: row for place, row in now.items() if place[0] == "jobs"})


async def with_gateway(act: Callable[[Gateway], Any]) -> None:
    gateway = await build(read_settings())
    try:
        await act(gateway)
    finally:
        await gateway.aclose()


def anchor() -> None:
    async def once() -> None:
        try:
            await timers.anchor_audit(past_due=False)
        finally:
            await close_current_gateway()

    asyncio.run(once())


def serve(times: int = 1, account: Account = ACME) -> None:
    asyncio.run(with_gateway(lambda gateway: _serve(gateway, account, times)))


@pytest.fixture
def anchored(books: KeptBooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Anchored]:
    key = tmp_path / "audit-signing-key.pem"
    generate_key_file(key)
    monkeypatch.setenv("AUDIT_SIGNING_KEY_FILE", str(key))
    credential = {"account_name": ACCOUNT, "account_key": books.account.key}
    with BlobServiceClient(books.account.blob_endpoint, credential=credential) as service:
        container = service.get_container_client("anchors")
        anchor()
        made = Anchored(books, key, container, books.tables.every_row())
        for _ in range(2):
            serve()
            anchor()
        yield made
        made.remove(*made.files())


def verified(capsys: Captured, *arguments: str, period: str = OPEN) -> tuple[int, dict[str, Any]]:
    status = run(["verify", "--period", period, *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def told(document: dict[str, Any], invariant: str = "I2") -> str:
    found = [each for each in document["findings"] if each["invariant"] == invariant]
    return "\n".join(f"{each['row']} {each['tenant_id']}: {each['message']}" for each in found)


@pytest.mark.parametrize("period", [OPEN, CLOSED])
def test_books_that_nobody_touched_hold(anchored: Anchored, capsys: Captured, period: str) -> None:
    status, document = verified(capsys, period=period)
    assert (status, document["findings"], document["notes"]) == (HOLDS, [], [])
    (unchecked,) = [each["reason"] for each in document["not_checked"] if each["invariant"] == "I2"]
    assert unchecked == f"a rollback of what happened after the last anchor, {anchored.leaves()[-1].at}"


def test_closed_months_are_final_after_their_first_leaf(anchored: Anchored) -> None:
    assert [f"ledger/{CLOSED}" in leaf.final for leaf in anchored.leaves()] == [True] * 3
    assert anchored.leaves()[0].count > anchored.leaves()[1].count


# Attackers with the tables, and with the chain key


def test_a_complete_rollback_shows(anchored: Anchored, capsys: Captured) -> None:
    anchored.restore()
    status, document = verified(capsys)
    assert status == VIOLATED
    assert "was anchored, and the lane ends at entry" in told(document)
    assert {each["invariant"] for each in document["findings"]} == {"I2"}


def test_another_history_in_the_place_of_the_anchored_one_shows(anchored: Anchored, capsys: Captured) -> None:
    """The attacker has the chain key: he puts the rows back, and lets the real ledger write other entries."""
    anchored.restore()
    serve(4)
    status, document = verified(capsys)
    assert status == VIOLATED
    assert told(document).count("is not the one that was anchored") == 2
    assert {each["invariant"] for each in document["findings"]} == {"I2"}


def test_a_tenant_that_was_removed_with_every_trace_shows(anchored: Anchored, capsys: Captured) -> None:
    remove_tenant_and_document(anchored.books.tables)
    status, document = verified(capsys)
    assert status == VIOLATED
    assert "acme: the lane was anchored, and has no rows" in told(document)
    status, document = verified(capsys, "--tenant", "acme")
    assert "acme: the lane was anchored, and has no rows" in told(document)
    assert "was anchored" not in told(verified(capsys, "--tenant", "idle")[1])


def test_a_closed_month_that_was_removed_shows(anchored: Anchored, capsys: Captured) -> None:
    tables, name = anchored.books.tables, CLOSED.replace("-", "")
    for lane in list(tables.rows("registry", CLOSED)):
        tables.delete("registry", CLOSED, lane)
        tables.delete(f"ledger{name}", lane)
        tables.delete(f"rollup{name}", lane)
    status, document = verified(capsys, period=CLOSED)
    assert status == VIOLATED
    assert told(document).count("was anchored, and has no rows") == 3


def test_a_shrunk_lane_is_reported_by_the_next_run_and_by_every_verification_after_it(
    anchored: Anchored, capsys: Captured, caplog: pytest.LogCaptureFixture
) -> None:
    anchored.restore()
    with pytest.raises(Exception, match=rf"ledger/{OPEN}/acme\|00: ChainDamaged: the chain has"):
        anchor()
    serve(5)
    anchor()
    status, document = verified(capsys)
    assert status == VIOLATED
    assert "leaf 3: the chain has" in told(document)
    assert verified(capsys, period=CLOSED)[0] == HOLDS


def test_an_audit_log_that_was_put_back_shows(anchored: Anchored, capsys: Captured) -> None:
    async def record(gateway: Gateway) -> None:
        await gateway.audit.chain.append(OPEN, events_of(OPEN))

    asyncio.run(with_gateway(record))
    anchor()
    assert verified(capsys)[0] == HOLDS
    anchored.restore()
    status, document = verified(capsys)
    assert status == VIOLATED
    assert f"audit log of {OPEN}: entry 2 was anchored, and the log ends at entry 0" in told(document)


def events_of(period: str) -> list[WaitingEvent]:
    """Return two events of a month."""
    day = datetime.fromisoformat(f"{period}-01T00:00:00+00:00")
    return [event_at(day), event_at(day)]


# Attackers with the container, before its policy is locked


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (leaf_path(1), "leaf 1 is missing: nothing after it can be proved"),
        (checkpoint_path(2), "the checkpoint is missing or wrong, and a later leaf exists"),
        (heads_path(1), "the heads of leaf 1 are missing"),
        (leaf_path(2), "leaf 2 is missing"),
    ],
)
def test_a_file_that_was_removed_shows(anchored: Anchored, capsys: Captured, path: str, message: str) -> None:
    anchored.remove(path)
    status, document = verified(capsys)
    assert status == VIOLATED
    assert f"{path} : {message}" in told(document)


def test_a_file_that_nobody_of_us_wrote_shows(anchored: Anchored, capsys: Captured) -> None:
    anchored.write({"leaf/notes.txt": b"", "checkpoint/00000000031": b"", "leaf/0000000001": b""})
    status, document = verified(capsys)
    assert (status, told(document).count("the file is none that the gateway writes")) == (VIOLATED, 3)


def test_heads_that_were_changed_with_their_leaf_do_not_fit_the_signature(anchored: Anchored, capsys: Captured) -> None:
    """The attacker rewrites heads and leaf to fit rows that he put back, and cannot sign."""
    files, leaves = anchored.files(), anchored.leaves()
    first = parse_heads(files[heads_path(0)])
    kept = [head for head in first if not head.is_closed]
    for n in (1, 2):
        leaf = replace(leaves[n], count=len(kept), heads_root=heads_root(kept))
        anchored.write({heads_path(n): format_heads(kept), leaf_path(n): leaf.to_bytes()})
    anchored.restore()
    status, document = verified(capsys)
    assert status == VIOLATED
    assert "the signed root is not that of the leaves" in told(document)


def test_a_log_that_was_signed_again_by_another_key_shows(anchored: Anchored, capsys: Captured, tmp_path: Path) -> None:
    another = tmp_path / "another.pem"
    generate_key_file(another)
    anchored.sign_all(another)
    status, document = verified(capsys)
    assert (status, told(document).count("no known key has signed the note")) == (VIOLATED, 3)


def test_an_auditor_trusts_the_keys_that_he_has_and_not_those_of_the_gateway(
    anchored: Anchored, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["public-key"]) == HOLDS
    pinned = tmp_path / "pinned.pem"
    pinned.write_text(capsys.readouterr().out)
    assert verified(capsys, "--public-key", str(pinned))[0] == HOLDS
    another = tmp_path / "another.pem"
    generate_key_file(another)
    anchored.sign_all(another)
    monkeypatch.setenv("AUDIT_SIGNING_KEY_FILE", str(another))
    assert verified(capsys)[0] == HOLDS
    status, document = verified(capsys, "--public-key", str(pinned))
    assert (status, told(document).count("no known key has signed the note")) == (VIOLATED, 3)


def test_whoever_has_the_signing_key_too_is_found_by_a_checkpoint_that_was_kept(
    anchored: Anchored, capsys: Captured, tmp_path: Path
) -> None:
    kept, files = tmp_path / "kept", anchored.files()
    kept.mkdir()
    (kept / "of november").write_bytes(files[checkpoint_path(3)])
    (kept / "folder").mkdir()
    assert verified(capsys, "--checkpoints", str(kept))[0] == HOLDS
    leaf = replace(anchored.leaves()[0], at=f"{CLOSED}-01T00:00:00.000Z", period=CLOSED)
    anchored.write({leaf_path(0): leaf.to_bytes()})
    anchored.sign_all(anchored.key)
    assert verified(capsys)[0] == HOLDS
    status, document = verified(capsys, "--checkpoints", str(kept))
    assert (status, "a checkpoint that was kept elsewhere has another root" in told(document)) == (VIOLATED, True)
    anchored.remove(heads_path(2), leaf_path(2), checkpoint_path(3))
    status, document = verified(capsys, "--checkpoints", str(kept))
    assert "was kept elsewhere, and the log has only 2" in told(document)


# What is told beside


def test_a_long_time_without_an_anchor_is_told(
    anchored: Anchored, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = replace(anchored.leaves()[0], at=f"{CLOSED}-01T00:00:00.000Z", period=CLOSED)
    anchored.write({leaf_path(0): leaf.to_bytes()})
    anchored.sign_all(anchored.key)
    status, document = verified(capsys)
    assert status == HOLDS
    assert document["notes"][0].startswith("no anchor for ")
    run(["verify", "--period", OPEN])
    assert "  note: no anchor for " in capsys.readouterr().out


def test_many_notes_are_cut_in_the_text(anchored: Anchored, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "SHOWN_FINDINGS", 0)
    leaf = replace(anchored.leaves()[0], at=f"{CLOSED}-01T00:00:00.000Z", period=CLOSED)
    anchored.write({leaf_path(0): leaf.to_bytes()})
    anchored.sign_all(anchored.key)
    run(["verify", "--period", OPEN])
    assert "... and 1 more notes; --json prints all" in capsys.readouterr().out


def test_anchors_that_ended_long_ago_are_told(anchored: Anchored, capsys: Captured) -> None:
    for n in range(3):
        leaf = replace(anchored.leaves()[n], at=f"{CLOSED}-02T00:0{n}:00.000Z", period=CLOSED)
        anchored.write({leaf_path(n): leaf.to_bytes()})
    anchored.sign_all(anchored.key)
    _, document = verified(capsys)
    assert f"the last leaf is of {CLOSED}-02T00:02:00.000Z" in document["notes"][-1]


def test_leaves_of_long_ago_are_read_without_their_heads(anchored: Anchored, capsys: Captured) -> None:
    leaf = replace(anchored.leaves()[0], at="2020-01-31T00:00:00.000Z", period="2020-01")
    anchored.write({leaf_path(0): leaf.to_bytes()})
    anchored.sign_all(anchored.key)
    anchored.remove(heads_path(0), checkpoint_path(1))
    assert verified(capsys)[0] == HOLDS


def test_without_a_key_anchors_are_not_checked(
    anchored: Anchored, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUDIT_SIGNING_KEY_FILE")
    status, document = verified(capsys)
    assert status == HOLDS
    assert "anchors: no key is named by" in json.dumps(document["not_checked"])
    assert run(["public-key"]) == NO_ANSWER
    assert "No key signs anchors" in capsys.readouterr().err


def test_a_log_without_leaves_is_told(anchored: Anchored, capsys: Captured) -> None:
    anchored.remove(*anchored.files())
    status, document = verified(capsys)
    assert status == HOLDS
    assert "anchors: none has been written yet" in json.dumps(document["not_checked"])


def test_a_file_without_a_key_is_told(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_CHAIN_KEY", CHAIN_KEY)
    monkeypatch.setenv("TALLYGATE_STORAGE", "memory")
    file = tmp_path / "file"
    file.write_text("nothing")
    assert run(["verify", "--period", OPEN, "--public-key", str(file)]) == NO_ANSWER
    assert f"{file}: The file has no key in PEM form." in capsys.readouterr().err
