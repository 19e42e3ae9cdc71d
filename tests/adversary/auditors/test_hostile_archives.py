"""An auditor's program ends with an answer whatever file it gets: never with a crash, and never without memory."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.cli.__main__ import run
from tests.tools.finished_month import FinishedMonth, copied, write_month
from tests.tools.tampering import Package

PROVED, VIOLATED, NO_ANSWER = 0, 1, 2
Lines = list[bytes]
NESTED = b"[" * 9999 + b"]" * 9999


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


def encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def verified(month: FinishedMonth) -> int:
    files = ["--archive", str(month.books), "--checkpoints", str(month.checkpoints)]
    return run(["verify", *files, "--public-key", str(month.public_key)])


@contextmanager
def little_memory() -> Iterator[None]:
    """Check that no more than 20 MiB are taken."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def price(**fields: Any) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        head = json.loads(lines[0])
        head["prices"][0] |= fields
        lines[0] = encoded(head)

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


def twice_named(key: bytes) -> Callable[[Lines], None]:
    """Add a row twice whose key would clear the terminal."""
    row = encoded(["ledger202610", "acme|00", key.decode(), {}]).replace(key, b"\\u001b" + key[1:])
    return lambda lines: lines.extend([row, row])


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
        (price(note="cheap"), "has a price that cannot be read"),
        (price(input_tokens_above="0"), "has a price that cannot be read"),
        (price(usd_per_million="abc"), "has a price that cannot be read"),
        (price(effective_from="0001-01-01T00:00:00+14:00"), "has a price that cannot be read"),
        (price(effective_from="2020-01-01T00:00:00"), "has a price that cannot be read"),
        (part(b'"2026-10","prices"', b'"20-2610","prices"'), "is not an archive of a period"),
        (part(b'"2026-10","prices"', b'"2026-13","prices"'), "is not an archive of a period"),
        (part(b'{"format"', b'{"format":"","format"'), "is not an archive of a period"),
        (part(b'{"seq":1,', b'{"seq":1,"seq":1,'), "is damaged or cut off"),
        (
            part(b'["registry","2026-10","acme|00",{}]', b'["registry","2026-10","acme|00",{},1]'),
            "is damaged or cut off",
        ),
        (
            part(b'"L|grant|grant-1",{}', b'"L|grant|grant-1",{"x":' + b"[" * 9999 + b"]" * 9999 + b"}"),
            "is damaged or cut off",
        ),
        (twice_named(b"\x1b[2J"), "\\x1b[2J twice"),
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
    head = gzip.decompress(month.books.read_bytes()).splitlines(keepends=True)[0]
    zeros = gzip.compress(b"0" * (64 * 1024 * 1024))
    month.books.write_bytes(gzip.compress(head) + zeros + zeros)
    assert verified(month) == NO_ANSWER
    assert "is damaged or cut off" in capsys.readouterr().err


def test_an_archive_of_rows_that_repeat_themselves_without_an_end_is_refused(
    month: FinishedMonth, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.adapters.tables.archive_file.MOST_GROWTH", 50)
    rows = [encoded(["ledger202610", "acme|00", "L|0", {}])] * 200_000
    rewritten(month, lambda lines: lines.extend(rows))
    with little_memory():
        assert verified(month) == NO_ANSWER
    assert "it grows to 50 times its size" in capsys.readouterr().err


BEYOND = "\U0010ffff"


@pytest.mark.parametrize(
    "row",
    [
        ["ledger202610", "acme|00", BEYOND, {}],
        ["ledger202610", BEYOND, "B", {}],
        ["rollup202610", "acme|00", BEYOND, {}],
        ["registry", "2026-10", BEYOND, {}],
        ["registry", BEYOND, "acme|00", {}],
        [BEYOND, "acme|00", "B", {}],
        ["registry", "2026-10", "acme|\N{ARABIC-INDIC DIGIT ZERO}\N{ARABIC-INDIC DIGIT ZERO}", {}],
    ],
)
def test_a_row_is_found_wherever_its_names_sort(
    row: list[Any], month: FinishedMonth, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(month, lambda lines: lines.append(encoded(row)))
    assert verified(month) == VIOLATED


@pytest.mark.parametrize("name", ["leaf/0000000000.json", "heads/0000000001.json", "checkpoint/0000000002"])
@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "large"])
def test_a_file_of_the_log_that_is_none_is_not_read(
    name: str, kind: str, month: FinishedMonth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a device or a pipe would not end."""
    path = month.checkpoints / name
    path.unlink()
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        monkeypatch.setattr("shared.adapters.on_disk.log_files.MAX_FILE_BYTES", 1000)
        path.write_bytes(bytes(1001))
    assert verified(month) == VIOLATED


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


def with_a_manifest_that_nests(month: FinishedMonth) -> None:
    zipped(month, zipfile.ZIP_DEFLATED, manifest=b'{"a":' * 5000 + b"1" + b"}" * 5000)


def with_a_file_that_grows(month: FinishedMonth) -> None:
    zipped(month, zipfile.ZIP_DEFLATED, **{"statements/2026-10/statements": bytes(2 << 20)})


def of_no_tenant(month: FinishedMonth) -> None:
    """Books of a tenant without a name would have no lanes, so that nothing were compared."""
    package = Package(month.package)
    package.files["manifest.json"] = package.files["manifest.json"].replace(b"null", b'""')
    package.write()


@pytest.mark.parametrize(
    "spoil",
    [
        of_other_methods,
        with_a_manifest_that_grows,
        encrypted,
        with_a_manifest_that_nests,
        with_a_file_that_grows,
        of_no_tenant,
    ],
)
def test_a_zip_file_that_we_never_write_is_told(
    spoil: Callable[[FinishedMonth], None], month: FinishedMonth, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(month)
    assert run(["verify", "--archive", str(month.package), "--public-key", str(month.public_key)]) == NO_ANSWER
    assert "is no evidence package, or " in capsys.readouterr().err


def test_half_a_surrogate_pair_in_an_event_is_told(month: FinishedMonth, capsys: pytest.CaptureFixture[str]) -> None:
    package = Package(month.package)
    name = "audit/2026-11.jsonl"
    package.files[name] = package.files[name].replace(b'"seq":1', b'"note":"\\ud800","seq":1')
    package.write()
    assert run(["verify", "--archive", str(month.package), "--public-key", str(month.public_key)]) == VIOLATED
    assert "of the file is not in its canonical form" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["manifest.json", "summary.html"])
def test_a_file_that_expands_beyond_the_size_that_it_states_takes_no_memory(name: str, month: FinishedMonth) -> None:
    zeros = bytes(100 << 20)
    package = Package(month.package)
    package.files[name] = zeros
    with zipfile.ZipFile(month.package, "w", zipfile.ZIP_DEFLATED) as file:
        for each, content in package.files.items():
            file.writestr(each, content)
    written, at = bytearray(month.package.read_bytes()), 0
    while (at := written.find(b"PK\x01\x02", at)) >= 0:
        if written[at + 46 :].startswith(name.encode()):
            written[at + 24 : at + 28] = struct.pack("<I", 100)  # the size in the directory
        at += 4
    month.package.write_bytes(written)
    with little_memory():
        status = run(["verify", "--archive", str(month.package), "--public-key", str(month.public_key)])
    assert status == (NO_ANSWER if name == "manifest.json" else VIOLATED)
