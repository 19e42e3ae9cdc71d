"""Attackers chain entries anew: without a key, with a wrong one, and with the right one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shared.domain.audit.hash_chain import HashChain, KeyRing
from tests.adversary.auditors.conftest import CLOSED, OPEN, KeptBooks
from tests.adversary.auditors.test_tampered_backups import backed_up
from tests.adversary.auditors.test_tampering import ACME, CLOSED_LEDGER, LEDGER, Captured, entry, seal_again, verified
from tests.tools.earlier_chain import EarlierChain
from tests.tools.stack import CHAIN_KEY

KEY = CHAIN_KEY.encode()
SECOND = CHAIN_KEY[::-1]
SIGNING, EARLIER = HashChain(KeyRing(keys={"0": KEY})), EarlierChain(KEY)


def counts(document: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {(each["method"], each["key_version"]): each["entries"] for each in document["chained"]}


@dataclass(frozen=True, slots=True)
class Forgery:
    """The chain of whoever writes the entries again, and the property that shows it."""

    chain: HashChain
    property_name: str


FORGERIES = {
    "signed by a guessed key": Forgery(HashChain(KeyRing(keys={"0": b"guessed"})), "mac"),
    "signed under the name of a version that is none": Forgery(
        HashChain(KeyRing(keys={"No.1": KEY}, newest="No.1")), "key_version"
    ),
    "written as an earlier version, by a guessed key": Forgery(EarlierChain(b"guessed"), ""),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
@pytest.mark.parametrize("first", [1, 4])
def test_without_the_key_a_new_chain_is_found_from_its_first_entry_on(
    forgery: Forgery, first: int, books: KeptBooks, capsys: Captured
) -> None:
    seal_again(books.tables, forgery.chain, first=first)
    status, document = verified(capsys, "--period", OPEN)
    found = [each for each in document["findings"] if each["invariant"] == "I2"]
    assert (status, found[0]["row"], found[0]["property"]) == (1, entry(first), forgery.property_name)


def test_a_new_chain_under_an_unknown_version_is_not_said_to_hold(books: KeptBooks, capsys: Captured) -> None:
    seal_again(books.tables, HashChain(KeyRing(keys={"lost": b"guessed"}, newest="lost")), latency_ms=77)
    status, document = verified(capsys, "--period", OPEN)
    assert (status, document["findings"], document["holds"]["I2"]) == (2, [], None)
    entries = counts(document)["sha256", "lost"]
    reason = f"mac not checked of {entries} entries: key version lost is not known"
    assert {"invariant": "I2", "reason": reason} in document["not_checked"]


def test_with_the_first_key_the_end_of_a_lane_can_be_written_as_earlier_versions_did_and_is_counted(
    books: KeptBooks, capsys: Captured
) -> None:
    _, before = verified(capsys, "--period", OPEN)
    seal_again(books.tables, EARLIER, first=4, latency_ms=77)
    status, document = verified(capsys, "--period", OPEN)
    assert (status, document["findings"]) == (0, [])
    forged = counts(document)["hmac", "0"]
    assert counts(document) == {("hmac", "0"): forged, ("sha256", "0"): counts(before)["sha256", "0"] - forged}


def test_a_stolen_key_is_useless_after_its_end(
    books: KeptBooks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured
) -> None:
    rows = books.tables.rows(LEDGER, ACME)
    times = {key: rows[key]["timestamp"] for key in rows if key.startswith("E|")}
    seal_again(books.tables, HashChain(KeyRing(keys={"1": SECOND.encode()}, newest="1")))
    seal_again(books.tables, EARLIER, first=4, latency_ms=77)
    monkeypatch.setenv("AUDIT_CHAIN_KEYS", f"1={SECOND}")
    monkeypatch.setenv("AUDIT_CHAIN_KEY_VERSION", "1")
    monkeypatch.setenv("AUDIT_CHAIN_KEY_ENDS", f"0={times[entry(1)]}")
    for command in (("--period", OPEN), ("--archive", backed_up(OPEN, tmp_path, capsys))):
        status, document = verified(capsys, *command, "--tenant", "acme")
        found = {each["row"] for each in document["findings"]}
        assert (status, found) == (1, {key for key in times if key >= entry(4)})


@pytest.mark.parametrize("chain", [SIGNING, EARLIER])
def test_with_a_key_a_closed_month_still_contradicts_the_chain_heads_of_its_statements(
    chain: HashChain, books: KeptBooks, capsys: Captured
) -> None:
    seal_again(books.tables, chain, table=CLOSED_LEDGER, latency_ms=77)
    status, document = verified(capsys, "--period", CLOSED)
    assert status == 1
    assert {each["invariant"] for each in document["findings"]} == {"I12"}
    assert any("chain heads" in each["message"] for each in document["findings"])
