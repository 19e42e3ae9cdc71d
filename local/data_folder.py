"""The data folder of `make run`: for one run at a time, and for its owner alone."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOCK_FILE = "run.lock"
_FOLDERS = ("azurite", "timers")
_FILES = ("*.json", "*.log", "*.pem", "*.header")


class FolderInUse(Exception):
    """Another run uses the folder. The message names its processes."""


class FolderLock:
    """The exclusive lock of a data folder.

    It is held until this process and every process that inherited `descriptor` have ended. A storage emulator that
    outlives a killed run therefore keeps it: two emulators over one folder would lose what they acknowledged.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock. Raises `FolderInUse`."""
        path = folder / LOCK_FILE
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self.descriptor)
            raise FolderInUse(f"the data folder {folder} is used by {_users(path)}") from None
        self.name({"run": os.getpid()})

    def name(self, pids: Mapping[str, int]) -> None:
        """Write into the lock file who uses the folder, for the message to others."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, json.dumps(pids).encode(), 0)

    def release(self) -> None:
        """Let go of the lock, as far as this process holds it."""
        os.close(self.descriptor)


def _users(path: Path) -> str:
    """Name the processes that hold a lock, from its file, which may not be written yet."""
    try:
        pids: dict[str, int] = json.loads(path.read_text())
    except ValueError:
        return "another run, which is starting"
    if _is_running(pids["run"]):
        return f"another run (process {pids['run']}); stop it, or choose another folder with TALLYGATE_DATA"
    left = ", ".join(f"{name} {pid}" for name, pid in pids.items() if name != "run")
    return f"processes that a killed run has left ({left}); end them first"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def make_private(folder: Path) -> None:
    """Take all rights of others from what earlier runs have left in the folder, and from the folder of a run."""
    is_of_a_run = (folder / "secrets.json").exists() and not folder.stat().st_mode & stat.S_ISVTX
    folders = [folder / name for name in _FOLDERS if (folder / name).is_dir()]
    found = [path for pattern in _FILES for path in folder.glob(pattern)]
    found += [path for each in folders for path in each.rglob("*")] + folders + ([folder] if is_of_a_run else [])
    for path in found:
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)


def write_private(path: Path, document: Mapping[str, Any]) -> None:
    """Replace a file by a JSON document that only its owner can read."""
    write_private_text(path, json.dumps(document, indent=2) + "\n")


def write_private_text(path: Path, text: str) -> None:
    """Replace a file by a text that only its owner can read."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600, exist_ok=False)
    temporary.write_text(text)
    temporary.replace(path)
