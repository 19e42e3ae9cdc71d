"""Fill virtual environments from hash-pinned lock files, with uv where it can be had, else with pip.

A lock file names everything that is to be installed, so dependencies are never resolved here (`--no-deps`).
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local.setup.stamps import is_installed, mark_installed
from local.setup.steps import ROOT, TOOLS, Command, StepFailed, run, step

UV_LOCK = ROOT / "requirements-uv.txt"
UV_FOLDER = TOOLS / "uv"
_PIP_OPTIONS = ("--disable-pip-version-check", "--no-input")
_LOCKED = ("--require-hashes", "--no-deps")

Runner = Callable[[str, Command], None]


@dataclass(frozen=True, slots=True)
class VirtualEnvironment:
    """A virtual environment and the lock files that fill it.

    `superset`: lock files of another use of the same folder, which include everything of `locks`.
    `is_compiled`: bytecode is written at once, for environments that start many processes.
    """

    folder: Path
    locks: tuple[Path, ...]
    superset: tuple[Path, ...] = ()
    is_compiled: bool = False

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def log_name(self) -> str:
        return self.folder.name.lstrip(".")

    def is_current(self) -> bool:
        """True if the last installation was from these lock files, or from the superset, as they are now."""
        accepted = (self.locks, self.superset) if self.superset else (self.locks,)
        return self.python.exists() and is_installed(self.folder, *accepted)


def install(environment: VirtualEnvironment, base_python: Path, uv: Path | None, run: Runner = run) -> None:
    """Install what the lock files name, with pip where there is no uv. Raises `StepFailed`.

    An environment that does not exist yet is created with `base_python`.
    """
    with step(f"Python packages in {environment.folder.name} with {'uv' if uv else 'pip'}"):
        if uv is None or not _install_with_uv(uv, environment, base_python, run):
            _install_with_pip(environment, base_python, run)
    mark_installed(environment.folder, environment.locks)


def find_uv(folder: Path = UV_FOLDER, run: Runner = run) -> Path | None:
    """The pinned uv, installed into the folder where it is not there yet; `None` where it cannot be had."""
    uv = folder / "bin" / "uv"
    if uv.exists() and is_installed(folder, (UV_LOCK,)):
        return uv
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with step("uv, the installer"):
            _install_uv(folder, run)
    except StepFailed:
        print("  uv cannot be installed here; pip does its work, more slowly.", flush=True)
        return None
    mark_installed(folder, (UV_LOCK,))
    return uv


def _install_uv(folder: Path, run: Runner) -> None:
    """Debian's Python has no pip of its own; a virtual environment has one there too."""
    install: list[str | Path] = ["-m", "pip", *_PIP_OPTIONS, "install", "--quiet", *_LOCKED, "-r", UV_LOCK]
    if importlib.util.find_spec("pip") is not None:
        run("uv", [sys.executable, *install, "--target", folder])
    else:
        run("uv", [sys.executable, "-m", "venv", folder])
        run("uv", [folder / "bin" / "python", *install])


def _install_with_uv(uv: Path, environment: VirtualEnvironment, base_python: Path, run: Runner) -> bool:
    """False if it fails: pip may be set up for a package index that uv is not told of."""
    name, python = environment.log_name, environment.python
    compiled = ("--compile-bytecode",) if environment.is_compiled else ()
    try:
        if not python.exists():
            shutil.rmtree(environment.folder, ignore_errors=True)
            run(name, [uv, "venv", "--python", base_python, "--no-python-downloads", environment.folder])
        run(name, [uv, "pip", "install", "--python", python, *_LOCKED, *compiled, *_requirements(environment)])
        run(name, [uv, "pip", "check", "--python", python])
    except StepFailed:
        print("  uv could not install them; pip tries the same.", flush=True)
        return False
    return True


def _install_with_pip(environment: VirtualEnvironment, base_python: Path, run: Runner) -> None:
    name = environment.log_name
    pip: list[str | Path] = [environment.python, "-m", "pip", *_PIP_OPTIONS]
    run(name, [base_python, "-m", "venv", environment.folder])
    run(name, [*pip, "install", "--progress-bar", "off", *_LOCKED, *_requirements(environment)])
    run(name, [*pip, "check"])


def _requirements(environment: VirtualEnvironment) -> list[str | Path]:
    return [part for lock in environment.locks for part in ("-r", lock)]
