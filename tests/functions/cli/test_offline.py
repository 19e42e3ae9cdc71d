"""`tallygate verify --archive --checkpoints`: an auditor's verification, with files and a public key alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.cli.__main__ import run
from tests.tools.finished_month import PERIOD, FinishedMonth, copied, write_key, write_month
from tests.tools.tampering import Books

ROOT = Path(__file__).resolve().parents[3]
PROVED, VIOLATED, NO_ANSWER = 0, 1, 2
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedMonth:
    return write_month(tmp_path_factory.mktemp("month"))


@pytest.fixture
def month(finished: FinishedMonth, tmp_path: Path) -> FinishedMonth:
    return copied(finished, tmp_path)


def arguments(month: FinishedMonth, *more: str) -> list[str]:
    files = ["--archive", str(month.books), "--checkpoints", str(month.checkpoints)]
    return ["verify", *files, "--public-key", str(month.public_key), *more]


def verified(capsys: Captured, month: FinishedMonth, *more: str) -> tuple[int, Any]:
    """Verify a month. Returns the status, and the JSON document."""
    status = run(arguments(month, *more, "--json"))
    told = capsys.readouterr()
    return status, json.loads(told.out) if told.out else told.err


def test_a_finished_month_is_proved_without_a_secret(month: FinishedMonth, capsys: Captured) -> None:
    assert run(arguments(month)) == PROVED
    told = capsys.readouterr().out
    assert "  I2   holds" in told
    assert "  30 entries are as they were when their heads were anchored: none was changed or removed." in told
    assert f"  All lanes of {PERIOD} were closed and anchored. Nothing was added afterwards." in told
    assert "  I2   mac not checked of 30 entries: key version 0 is not known" in told
    assert "that its owner keeps no second log" in told


def test_entries_that_nothing_binds_to_an_anchor_are_not_counted_as_proved(
    month: FinishedMonth, capsys: Captured
) -> None:
    """Somebody turns an entry into one of an earlier version, with the same hash."""
    books = Books.read(month.books.read_bytes())
    fields = books.entries("bolt|00")[2][3]
    for name in ("method", "key_version", "mac"):
        fields.pop(name)
    month.books.write_bytes(books.content())
    status, document = verified(capsys, month)
    assert (status, document["findings"]) == (NO_ANSWER, [])
    sentence = "29 entries are as they were when their heads were anchored: none was changed or removed."
    assert sentence in document["proved"]


def test_a_lane_that_an_earlier_version_closed_is_told(month: FinishedMonth, capsys: Captured) -> None:
    books = Books.read(month.books.read_bytes())
    books.entries("bolt|00")[-1][3].pop("balance_sha256")
    books.rechain("bolt|00", PERIOD)
    month.books.write_bytes(books.content())
    assert run(["verify", "--archive", str(month.books)]) == NO_ANSWER
    told = capsys.readouterr().out
    assert "I9   recent commits and limits a minute of 1 closed lanes: an earlier version closed them" in told


def test_one_tenant_is_proved_alone(month: FinishedMonth, capsys: Captured) -> None:
    status, document = verified(capsys, month, "--tenant", "acme")
    assert (status, document["tenants"], document["findings"]) == (PROVED, 1, [])


def test_known_chain_keys_prove_the_macs_too(month: FinishedMonth, tmp_path: Path, capsys: Captured) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0=test-chain-key-test-chain-key-test\n")
    status, document = verified(capsys, month, "--chain-key", str(keys))
    assert (status, document["chained"][0]["is_key_known"]) == (PROVED, True)
    keys.write_text("0=another-chain-key-another-chain-key\n")
    assert verified(capsys, month, "--chain-key", str(keys))[0] == VIOLATED


@pytest.mark.parametrize("content", [b"no pair\n", b"0=\n", b"\xff\n"])
def test_a_file_of_chain_keys_that_cannot_be_read_is_told(
    content: bytes, month: FinishedMonth, tmp_path: Path, capsys: Captured
) -> None:
    keys = tmp_path / "keys"
    keys.write_bytes(content)
    assert run(arguments(month, "--chain-key", str(keys))) == NO_ANSWER
    assert str(keys) in capsys.readouterr().err


def test_an_archive_that_is_older_than_the_checkpoints_is_told(month: FinishedMonth, capsys: Captured) -> None:
    shutil.copy(month.early, month.books)
    status, document = verified(capsys, month)
    first = document["findings"][0]
    assert (status, first["invariant"], first["partition"]) == (VIOLATED, "I2", "acme|00")
    assert "is missing, and leaf 4" in first["message"]
    assert "newer ones were removed, or the file is older than the checkpoints" in first["message"]


def test_entries_after_the_newest_leaf_are_not_proved(month: FinishedMonth, capsys: Captured) -> None:
    for kind in ("leaf", "heads", "checkpoint"):
        for path in sorted((month.checkpoints / kind).iterdir())[4:]:
            path.unlink()
    shutil.copy(month.early, month.books)
    assert verified(capsys, month)[0] == PROVED
    for kind in ("leaf", "heads", "checkpoint"):
        max((month.checkpoints / kind).iterdir()).unlink()
    status, document = verified(capsys, month)
    reasons = [each["reason"] for each in document["not_checked"] if each["invariant"] == "I2"]
    assert (status, document["holds"]["I2"], document["findings"]) == (NO_ANSWER, None, [])
    assert "the last 7 entries of acme|00: no leaf has them yet" in reasons


def test_a_checkpoint_that_the_auditor_kept_must_be_in_the_log(
    month: FinishedMonth, tmp_path: Path, capsys: Captured
) -> None:
    kept = tmp_path / "kept"
    shutil.copy(month.checkpoints / "checkpoint" / "0000000003", kept)
    assert verified(capsys, month, "--checkpoint", str(kept))[0] == PROVED
    (tmp_path / "other").mkdir()
    other = write_month(tmp_path / "other")
    shutil.copy(other.checkpoints / "checkpoint" / "0000000003", kept)
    status, document = verified(capsys, month, "--checkpoint", str(kept), "--public-key", str(other.public_key))
    assert (status, document["findings"][0]["message"]) == (
        VIOLATED,
        "checkpoint/0000000003: a checkpoint that was kept elsewhere has another root",
    )


def test_another_key_proves_nothing(month: FinishedMonth, tmp_path: Path, capsys: Captured) -> None:
    _, public = write_key(tmp_path, "other")
    status, document = verified(capsys, replace(month, public_key=public))
    assert status == VIOLATED
    assert document["findings"][0]["message"].endswith("no known key has signed the note")


def no_key(month: FinishedMonth) -> None:
    month.public_key.write_bytes(b"no key")


def no_log(month: FinishedMonth) -> None:
    for each in month.checkpoints.iterdir():
        shutil.rmtree(each)


@pytest.mark.parametrize(
    ("spoil", "told"), [(no_key, "has no key"), (no_log, "is not a copy of the container of anchors")]
)
def test_files_that_are_none_end_with_no_answer(
    spoil: Callable[[FinishedMonth], None], told: str, month: FinishedMonth, tmp_path: Path, capsys: Captured
) -> None:
    own = replace(month, public_key=tmp_path / "public.pem")
    shutil.copy(month.public_key, own.public_key)
    spoil(own)
    assert run(arguments(own)) == NO_ANSWER
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--period", PERIOD, "--sha256-only"], "need --archive"),
        (["--archive", __file__, "--checkpoint", __file__], "need --public-key"),
    ],
)
def test_options_that_do_not_fit_are_refused(given: list[str], told: str, capsys: Captured) -> None:
    assert run(["verify", *given]) == NO_ANSWER
    assert told in capsys.readouterr().err


def test_texts_of_rows_cannot_command_a_terminal(month: FinishedMonth, capsys: Captured) -> None:
    (month.checkpoints / "leaf" / "0000000002.json").write_bytes(b'{"at":"\x1b[31m"}')
    (month.checkpoints / "heads" / "0000000001.json").write_bytes(
        (month.checkpoints / "heads" / "0000000001.json").read_bytes().replace(b"acme", b"ac\\u001bme")
    )
    assert run(arguments(month)) == VIOLATED
    assert "\x1b" not in capsys.readouterr().out


PROGRAM = """
import socket, sys
def refuse(*_): raise AssertionError("the network was used")
socket.socket.connect = refuse
from shared.cli.__main__ import run
status = run(sys.argv[1:])
loaded = {"azure", "aiohttp", "openai", "pydantic_settings", "starlette", "shared.settings", "shared.composition"}
print(sorted(loaded & {*sys.modules}), file=sys.stderr)
sys.exit(status)
"""


def test_neither_settings_nor_clients_are_loaded(month: FinishedMonth) -> None:
    command = [sys.executable, "-c", PROGRAM, *arguments(month)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        command, cwd=month.books.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (PROVED, "[]")
