"""Evidence packages: zip files with fixed bytes, which docs/reference/formats.md describes."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Self

import msgspec

from shared.adapters.on_disk.log_files import MAX_FILE_BYTES, StoredLog
from shared.adapters.tables.archive_file import FREE_GROWTH, MOST_GROWTH, ArchiveDamaged
from shared.application.ports.evidence import PackageFacts
from shared.domain.audit.package_paths import ANCHORS, AUDIT, MANIFEST, PERIODS, STATEMENTS
from shared.domain.identifiers import TENANT_ID

FORMAT: Final = "tallygate-evidence-1"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The time of every file, so that the same content gives the same bytes. A zip file knows no earlier one."""
_MODE: Final = 0o600 << 16
_CHUNK: Final = 1 << 20
_MAX_LINE_BYTES: Final = 8 << 20
"""A longer line is none of ours: a row has 1 MiB. It is cut, because its values would take 20 times as much."""
_OUR_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED: Final = 0x61
"""Bits of a file: encrypted, encrypted by another method, or a patch of another file."""
_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError)
"""`zipfile` and the decoding of names raise these for files that somebody damaged."""
_STORED: Final = (".gz", ".parquet")
_PERIOD: Final = re.compile(rf"{PERIODS}/(\d{{4}}-\d{{2}})\.gz", re.ASCII)
_AUDIT_PERIOD: Final = re.compile(rf"{AUDIT}/(\d{{4}}-\d{{2}})\.jsonl", re.ASCII)


class _File(msgspec.Struct):
    name: str
    bytes: int
    sha256: str


class _Manifest(msgspec.Struct):
    format: str
    origin: str
    tenant: str | None
    periods: list[str]
    files: list[_File]


class PackageWriter:
    """Writes a package file by file, in the order of the calls, and its manifest last. A context manager."""

    def __init__(self, path: Path, facts: PackageFacts) -> None:
        self._facts = facts
        self._files: list[_File] = []
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._write(MANIFEST, self._manifest())
        self._zip.close()

    def add(self, name: str, content: bytes) -> None:
        """Add a file."""
        self._write(name, content)
        self._files.append(_File(name, len(content), hashlib.sha256(content).hexdigest()))

    def add_file(self, name: str, source: Path) -> None:
        """Add a file that may not fit into memory."""
        digest, size = hashlib.sha256(), 0
        with source.open("rb") as file, self._zip.open(_info(name), "w", force_zip64=True) as target:
            while chunk := file.read(_CHUNK):
                target.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        self._files.append(_File(name, size, digest.hexdigest()))

    def _write(self, name: str, content: bytes) -> None:
        self._zip.writestr(_info(name), content)

    def _manifest(self) -> bytes:
        files = sorted(self._files, key=lambda each: each.name)
        facts = self._facts
        stated = _Manifest(
            format=FORMAT, origin=facts.origin, tenant=facts.tenant, periods=list(facts.periods), files=files
        )
        return _written(stated)


class EvidencePackage:
    """Reads a package."""

    def __init__(self, path: Path) -> None:
        """Raises `ArchiveDamaged` if the file is no package."""
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
            files = self._zip.infolist()
            _require_ours(files)
            content = self._content(MANIFEST)
            self._manifest = msgspec.json.decode(content, type=_Manifest)
        except (*_DAMAGE, KeyError, NotImplementedError, RecursionError) as error:
            raise ArchiveDamaged(f"{path} is no evidence package, or is damaged.") from error
        names = [file.filename for file in files]
        stated = self._manifest
        is_ours = stated.format == FORMAT and _written(stated) == content and _is_tenant(stated.tenant)
        if not is_ours or len({*names}) != len(names):
            raise ArchiveDamaged(f"{path} is no evidence package, or names a file twice.")
        self._names = dict.fromkeys(names)  # a list would take a quadratic time with the files of some years

    @property
    def facts(self) -> PackageFacts:
        """The facts that the package states about itself."""
        stated = self._manifest
        return PackageFacts(origin=stated.origin, tenant=stated.tenant, periods=tuple(stated.periods))

    @property
    def names(self) -> Sequence[str]:
        """The names of all files."""
        return [*self._names]

    def faults(self) -> Iterator[str]:
        """Yield each file that is not as the manifest names it. Reads every file."""
        named: Mapping[str, _File] = {each.name: each for each in self._manifest.files}
        if [each.name for each in self._manifest.files] != sorted(named.keys() - {MANIFEST}):
            yield "the manifest does not name each other file once, in their order"
        for name in sorted({*named, *self._names} - {MANIFEST}):
            if name not in named:
                yield f"{name} is not in the manifest"
            elif name not in self._names:
                yield f"{name} is missing"
            elif self.digest(name) != (named[name].bytes, named[name].sha256):
                yield f"{name} is not the file that the manifest names"
            elif name.endswith(".jsonl") and not self._ends_with_a_line(name):
                yield f"{name} does not end with a line"
        found = [*self.periods()]
        if found != sorted(self._manifest.periods):
            stated = ", ".join(self._manifest.periods)
            yield f"the manifest names the periods {stated}, and there are books of {', '.join(found)}"

    def periods(self) -> Iterator[str]:
        """Yield the periods whose books are there, ascending."""
        yield from sorted(match[1] for name in self._names if (match := _PERIOD.fullmatch(name)))

    def audit_periods(self) -> Iterator[str]:
        """Yield the months whose audit log is there, ascending."""
        yield from sorted(match[1] for name in self._names if (match := _AUDIT_PERIOD.fullmatch(name)))

    def extract_books(self, period: str, target: Path) -> None:
        """Copy the archive of a period into a file. Raises `ArchiveDamaged`."""
        try:
            with self._zip.open(f"{PERIODS}/{period}.gz") as source, target.open("wb") as file:
                _copy(source, file)
        except _DAMAGE as error:
            raise ArchiveDamaged(f"{self._path} is damaged.") from error

    def log(self) -> StoredLog:
        """Return the log of heads."""
        prefix = f"{ANCHORS}/"
        names = (name.removeprefix(prefix) for name in self._names if name.startswith(prefix))
        return StoredLog(names, lambda path: self.read(f"{prefix}{path}"), has_heads=self._manifest.tenant is None)

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of a file, without their ends; none if the file is missing. Raises `ArchiveDamaged`."""
        if name not in self._names:
            return
        try:
            with self._zip.open(name) as file:
                while line := file.readline(_MAX_LINE_BYTES):
                    yield line.rstrip(b"\n")
        except _DAMAGE as error:
            raise ArchiveDamaged(f"{self._path} is damaged.") from error

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; `None` if it is missing or cannot be read."""
        if name not in self._names:
            return None
        if self._zip.getinfo(name).file_size > MAX_FILE_BYTES:
            return b""
        try:
            return self._content(name)
        except _DAMAGE:
            return b""  # its checksum is another: `faults` tells it

    def _content(self, name: str) -> bytes:
        """Read a file part by part: at once, `zipfile` would expand more than the size that it states."""
        with self._zip.open(name) as file:
            return b"".join(iter(lambda: file.read(_CHUNK), b""))

    def _ends_with_a_line(self, name: str) -> bool:
        last = b"\n"
        with self._zip.open(name) as file:
            while chunk := file.read(_CHUNK):
                last = chunk
        return last.endswith(b"\n")

    def digest(self, name: str) -> tuple[int, str]:
        """Return the size and the SHA-256 of a file; -1 and an empty text if it is missing or cannot be read."""
        if name not in self._names:
            return -1, ""
        digest, size = hashlib.sha256(), 0
        try:
            with self._zip.open(name) as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
        except _DAMAGE:
            return -1, ""
        return size, digest.hexdigest()


class PackagedReports:
    """Implements `ReportStore` over the statements of a package, to be read only."""

    def __init__(self, package: EvidencePackage) -> None:
        self._package = package

    async def read(self, path: str) -> bytes | None:
        """Return a statement file of a period."""
        return self._package.read(f"{STATEMENTS}/{path}")


def _written(manifest: _Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _is_tenant(stated: str | None) -> bool:
    return stated is None or TENANT_ID.fullmatch(stated) is not None


def _require_ours(files: Sequence[zipfile.ZipInfo]) -> None:
    """Raise `BadZipFile` for files that the gateway never writes: encrypted, compressed by other methods, too large.

    No file of ours is compressed as well as zeros are: only one that is to exhaust memory or time.
    """
    for file in files:
        is_large = file.filename == MANIFEST and file.file_size > MAX_FILE_BYTES
        is_large |= file.file_size > file.compress_size * MOST_GROWTH + FREE_GROWTH
        if is_large or file.compress_type not in _OUR_METHODS or file.flag_bits & _ENCRYPTED:
            raise zipfile.BadZipFile


def is_package(path: Path) -> bool:
    """Tell whether a file is a zip file."""
    return zipfile.is_zipfile(path)


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    while chunk := source.read(_CHUNK):
        target.write(chunk)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_STORED if name.endswith(_STORED) else zipfile.ZIP_DEFLATED
    info.external_attr, info.create_system = _MODE, 3
    return info
