"""Write a folder as a zip whose bytes depend on names and contents only."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

_MOMENT = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can state."""
_REGULAR_FILE = 0o100644
_UNIX = 3


def write_archive(folder: Path, archive: Path) -> None:
    """Write every file of the folder, sorted by name, with one time and one mode."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_suffix(".part")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as packed:
        for name in sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()):
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.create_system, entry.external_attr = _UNIX, _REGULAR_FILE << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, (folder / name).read_bytes())
    unfinished.replace(archive)


def write_digest(archive: Path) -> str:
    """Write the SHA-256 beside the archive, as `sha256sum --check` reads it, and return it."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    archive.with_name(f"{archive.name}.sha256").write_text(f"{digest}  {archive.name}\n")
    return digest
