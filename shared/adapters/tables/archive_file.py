"""The file of an archive: its lines, and what they must be. docs/reference/formats.md describes it."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from shared.domain.errors import GatewayError

FORMAT: Final = "tallygate-period-1"
MOST_GROWTH: Final = 200
"""The most times that a file of ours is as large as its compressed form. Hashes hardly shrink: 20 times is much."""
FREE_GROWTH: Final = 1 << 20
"""Bytes that a file may have in any case, because a short one may repeat itself."""
_PERIOD: Final = re.compile(r"(?!0000)\d{4}-(?:0[1-9]|1[0-2])", re.ASCII)
_MAX_LINE_BYTES: Final = 16 << 20
"""A longer line is none of ours: a row has 1 MiB. It is cut, because its values would take 20 times as much."""


LineT = TypeVar("LineT", bound=msgspec.Struct)


class ArchiveDamaged(GatewayError):
    """The file is not an archive of a period, or is incomplete or changed."""


class Head(msgspec.Struct):
    """The first line of an archive."""

    format: str
    period: str
    prices: list[dict[str, str | int | bool | None]]


class Line(msgspec.Struct, array_like=True):
    """One row of the archive, written as a JSON array."""

    table: str
    partition: str
    key: str
    fields: dict[str, Any]
    """Values of any type: a row that was tampered with is archived as it is."""


def read_prices(path: Path) -> list[dict[str, Any]]:
    """Return the prices of an archive as they stand there. Raises `ArchiveDamaged`."""
    return [dict(each) for each in read_head(path).prices]


def read_head(path: Path) -> Head:
    """Read the first line. Raises `ArchiveDamaged` if it is not the head of an archive."""
    found = _read_line(next(_lines(path), b""), Head)
    if found is None or found.format != FORMAT or not _PERIOD.fullmatch(found.period):
        raise ArchiveDamaged(f"{path} is not an archive of a period.")
    return found


def read_rows(path: Path) -> Iterator[Line]:
    """Read the rows one by one. Raises `ArchiveDamaged`, at the latest after the last, if `export` did not write it."""
    # A line is handled when the next one is there, because only the end of the file shows which line is the last.
    digest, count, previous = hashlib.sha256(), 0, b""
    for number, line in enumerate(_lines(path)):
        if previous:
            digest.update(previous)
            if number > 1:
                count += 1
                yield _row(path, previous)
        previous = line
    if previous != msgspec.json.encode({"rows": count, "sha256": digest.hexdigest()}) + b"\n":
        raise ArchiveDamaged(f"{path} is damaged or cut off.")


def _row(path: Path, line: bytes) -> Line:
    row = _read_line(line, Line)
    if row is None:
        raise ArchiveDamaged(f"{path} is damaged or cut off.")
    return row


def _read_line(line: bytes, kind: type[LineT]) -> LineT | None:
    """Return the content of a line; `None` unless it is written back as the same bytes.

    So no name is there twice, of which another reader takes the other value.
    """
    try:
        found = msgspec.json.decode(line, type=kind)
        return found if msgspec.json.encode(found) + b"\n" == line else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _lines(path: Path) -> Iterator[bytes]:
    most = path.stat().st_size * MOST_GROWTH + FREE_GROWTH
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(min(most, _MAX_LINE_BYTES)):
                yield line
                most -= len(line)
            if file.read(1):
                raise ArchiveDamaged(f"{path} is damaged or cut off: it grows to {MOST_GROWTH} times its size.")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ArchiveDamaged(f"{path} is damaged or cut off.") from error
