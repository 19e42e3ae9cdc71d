"""The files of a finished month, as somebody changes them who can write all of them and has the chain key."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from shared.domain.audit.hash_chain import canonical
from tests.tools.stack import CHAIN_KEY

Fields: TypeAlias = dict[str, Any]
Row: TypeAlias = tuple[str, str, str, Fields]


@dataclass(slots=True)
class Books:
    """An archive in memory: its head, and its rows in order."""

    head: dict[str, Any]
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def read(cls, content: bytes) -> Books:
        first, *lines, _ = gzip.decompress(content).splitlines()
        return cls(json.loads(first), [tuple(json.loads(line)) for line in lines])

    def content(self) -> bytes:
        """Return the file, with a tail that fits, as somebody writes it who knows the format."""
        lines = [_encoded(self.head), *map(_encoded, self.rows)]
        tail = {"rows": len(self.rows), "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
        return gzip.compress(b"".join([*lines, _encoded(tail)]), mtime=0)

    def find(self, accepts: Callable[[Row], bool]) -> Row:
        return next(row for row in self.rows if accepts(row))

    def entries(self, partition: str) -> list[Row]:
        return [row for row in self.rows if row[1] == partition and row[2].startswith("E|") and "ledger" in row[0]]

    def lanes(self) -> list[str]:
        return sorted({row[1] for row in self.rows if row[0].startswith("ledger")})

    def rechain(self, partition: str, period: str) -> None:
        """Number and chain the entries of a lane again, with macs of the chain key, and move the balance's head."""
        head = hashlib.sha256(f"{period}/{partition}".encode()).hexdigest()
        entries = self.entries(partition)
        for fields in (row[3] for row in entries):
            fields.pop("hash", None)
            fields.pop("mac", None)
            head = hashlib.sha256(head.encode() + canonical(fields)).hexdigest()
            fields["hash"] = head
            fields["mac"] = hmac.digest(CHAIN_KEY.encode(), head.encode(), "sha256").hex()
        for row in self.rows:
            if row[1:3] == (partition, "B"):
                row[3]["head"] = head


class Package:
    """A zip file in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with zipfile.ZipFile(path) as file:
            self.files = {name: file.read(name) for name in file.namelist()}

    def write(self, *, with_manifest: bool = True) -> None:
        """Write the file. By default its manifest is made to fit."""
        if with_manifest:
            manifest = json.loads(self.files["manifest.json"])
            manifest["files"] = [
                {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in sorted(self.files.items())
                if name != "manifest.json"
            ]
            self.files["manifest.json"] = json.dumps(manifest, indent=2).encode() + b"\n"
        with zipfile.ZipFile(self._path, "w") as file:
            for name, content in self.files.items():
                file.writestr(name, content)


def changed_values(value: Any) -> Iterator[Any]:
    """Yield other values for a field."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
    else:
        yield f"{value}x"


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
