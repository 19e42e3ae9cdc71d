"""Remember in a folder which lock files it was installed from."""

from __future__ import annotations

import hashlib
from pathlib import Path

_STAMP = ".installed"


def is_installed(folder: Path, *alternatives: tuple[Path, ...]) -> bool:
    """True if the folder was last installed from one of these sets of lock files, as they are now."""
    stamp = folder / _STAMP
    return stamp.exists() and stamp.read_text() in {_digest(locks) for locks in alternatives}


def mark_installed(folder: Path, locks: tuple[Path, ...]) -> None:
    (folder / _STAMP).write_text(_digest(locks))


def _digest(files: tuple[Path, ...]) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
