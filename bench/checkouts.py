"""Checkouts to compare, and a Python that has what their functions host needs."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from local.setup.python_packages import VirtualEnvironment, find_uv, install

_NEEDED = "import aiohttp, azurefunctions.extensions.http.fastapi, croniter, httptools, msgspec, splintr, uvicorn"
_VERSION = re.compile(r"3\.\d+")


@contextmanager
def checkout(folder_or_ref: str, repository: Path) -> Iterator[Path]:
    """The folder itself; or the files of a git ref of the repository in a temporary folder, removed at the end.

    Raises `ValueError` for what is neither.
    """
    if Path(folder_or_ref).is_dir():
        yield Path(folder_or_ref).resolve()
        return
    packed = _archive(folder_or_ref, repository)
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


def python_of(path_or_version: str, root: Path) -> str:
    """An interpreter by its path; or by a version such as `3.13`, from a virtual environment of the root.

    Where no environment of that version can run the functions host, `.venv-bench-<version>` is made from
    requirements-dev.txt. Raises `ValueError` for what is not on this machine.
    """
    if not _VERSION.fullmatch(path_or_version):
        return _by_path(path_or_version)
    known = [sys.executable, *sorted(str(each) for each in root.glob(".venv*/bin/python"))]
    for python in known:
        if _can_run(python, path_or_version, _NEEDED):
            return python
    return _new_environment(path_or_version, root)


def _archive(ref: str, repository: Path) -> bytes:
    # A worktree would stay registered in the repository if this process were killed.
    made = subprocess.run(["git", "-C", repository, "archive", ref], capture_output=True, check=False)
    if made.returncode:
        raise ValueError(f"{ref!r} is neither a folder nor a git ref: {made.stderr.decode().strip()}")
    return made.stdout


def _by_path(python: str) -> str:
    found = shutil.which(python)
    if found is None:
        raise ValueError(f"{python!r} is neither an interpreter nor a version such as 3.13.")
    return str(Path(found).absolute())  # gateways start in another folder


def _new_environment(version: str, root: Path) -> str:
    interpreter = Path(_interpreter(version))
    environment = VirtualEnvironment(root / f".venv-bench-{version}", (root / "requirements-dev.txt",))
    with redirect_stdout(sys.stderr):
        print(f"Making {environment.folder.name} with Python {version} ...", flush=True)
        install(environment, interpreter, find_uv())
    return str(environment.python)


def _interpreter(version: str) -> str:
    """An interpreter on the PATH, or among pyenv's versions: a shim of pyenv may be on the PATH and not run."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *map(str, versions.glob(f"{version}.*/bin/python{version}"))]
    for python in candidates:
        if python and _can_run(python, version):
            return python
    raise ValueError(f"Python {version} is not on the PATH, nor among pyenv's versions. Name one by its path.")


def _can_run(python: str, version: str, needed: str = "") -> bool:
    check = f"import sys; assert '%d.%d' % sys.version_info[:2] == {version!r}; {needed}"
    try:
        return subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0
    except OSError:
        return False
