"""An auditor's program ends with an answer whatever file it gets: never with a crash, and never without memory."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.cli.__main__ import run
from tests.tools.finished_month import FinishedMonth, copied, write_month

PROVED, NO_ANSWER = 0, 2
Lines = list[bytes]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedMonth:
    return write_month(tmp_path_factory.mktemp("month"))


@pytest.fixture
def month(finished: FinishedMonth, tmp_path: Path) -> FinishedMonth:
    return copied(finished, tmp_path)


def rewritten(month: FinishedMonth, change: Callable[[Lines], None]) -> None:
    """Change the lines of the archive, and write the last line that fits them."""
    lines = gzip.decompress(month.books.read_bytes()).splitlines(keepends=True)[:-1]
    change(lines)
    tail = {"rows": len(lines) - 1, "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    last = json.dumps(tail, separators=(",", ":")).encode() + b"\n"
    month.books.write_bytes(gzip.compress(b"".join([*lines, last]), 1))


def verified(month: FinishedMonth) -> int:
    files = ["--archive", str(month.books), "--checkpoints", str(month.checkpoints)]
    return run(["verify", *files, "--public-key", str(month.public_key)])


def price(**fields: Any) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        head = json.loads(lines[0])
        head["prices"][0] |= fields
        lines[0] = json.dumps(head).encode() + b"\n"

    return change


def line(number: int, content: bytes) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        lines[number] = content

    return change


def part(old: bytes, new: bytes) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        lines[:] = [each.replace(old, new) for each in lines]

    return change


def twice(kind: bytes) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        lines.append(next(each for each in lines if kind in each))

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (part(b"charge", b"char\xff"), "is damaged or cut off"),
        (part(b"tallygate-period-1", b"tallygate-period-\xff"), "is not an archive of a period"),
        (part(b'"2026-10"', b'"\\ud800"'), "is not an archive of a period"),
        (part(b'"acme|00"', b'"\\udc00"'), "is damaged or cut off"),
        (line(5, b"[" * 100_000 + b"]" * 100_000 + b"\n"), "is damaged or cut off"),
        (price(meter="smiles"), "has a price that cannot be read"),
        (price(usd_per_million=None), "has a price that cannot be read"),
        (price(effective_from="yesterday"), "has a price that cannot be read"),
        (twice(b'"E|0000000000000003"'), "acme|00 E|0000000000000003 twice"),
        (twice(b'["registry"'), "registry 2026-10 acme|00 twice"),
        (twice(b'"B",'), "acme|00 B twice"),
    ],
)
def test_an_archive_that_nobody_of_us_wrote_is_told(
    change: Callable[[Lines], None], told: str, month: FinishedMonth, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verified(month) == PROVED
    capsys.readouterr()
    rewritten(month, change)
    assert verified(month) == NO_ANSWER
    assert told in capsys.readouterr().err


def test_a_small_archive_that_grows_without_an_end_is_refused(
    month: FinishedMonth, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line is twice as long as the largest that is read at once."""
    head = gzip.decompress(month.books.read_bytes()).splitlines(keepends=True)[0]
    zeros = gzip.compress(b"0" * (64 * 1024 * 1024))
    month.books.write_bytes(gzip.compress(head) + zeros + zeros)
    assert verified(month) == NO_ANSWER
    assert "is damaged or cut off" in capsys.readouterr().err
