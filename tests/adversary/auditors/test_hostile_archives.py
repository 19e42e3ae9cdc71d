"""An auditor's program ends with an answer whatever file it gets: never with a crash, and never without memory."""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.cli.__main__ import run
from tests.tools.finished_month import FinishedMonth, copied, write_month
from tests.tools.tampering import Package

PROVED, VIOLATED, NO_ANSWER = 0, 1, 2
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


def zipped(month: FinishedMonth, method: int, **contents: bytes) -> None:
    """Write the package again with a method of compression, and some files with other contents."""
    files = Package(month.package).files | {f"{name}.json": content for name, content in contents.items()}
    with zipfile.ZipFile(month.package, "w", method) as file:
        for name, content in files.items():
            file.writestr(name, content)


def of_other_methods(month: FinishedMonth) -> None:
    zipped(month, zipfile.ZIP_LZMA)


def with_a_manifest_that_grows(month: FinishedMonth) -> None:
    zipped(month, zipfile.ZIP_DEFLATED, manifest=bytes(65 * 1024 * 1024))


def encrypted(month: FinishedMonth) -> None:
    """Set the bit of encryption in the directory of the zip file."""
    content = bytearray(month.package.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    month.package.write_bytes(content)


@pytest.mark.parametrize("spoil", [of_other_methods, with_a_manifest_that_grows, encrypted])
def test_a_zip_file_that_we_never_write_is_told(
    spoil: Callable[[FinishedMonth], None], month: FinishedMonth, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(month)
    assert run(["verify", "--archive", str(month.package), "--public-key", str(month.public_key)]) == NO_ANSWER
    assert "is no evidence package, or is damaged" in capsys.readouterr().err


def test_half_a_surrogate_pair_in_an_event_is_told(month: FinishedMonth, capsys: pytest.CaptureFixture[str]) -> None:
    package = Package(month.package)
    name = "audit/2026-11.jsonl"
    package.files[name] = package.files[name].replace(b'"seq":1', b'"note":"\\ud800","seq":1')
    package.write()
    assert run(["verify", "--archive", str(month.package), "--public-key", str(month.public_key)]) == VIOLATED
    assert "of the file is not in its canonical form" in capsys.readouterr().out
