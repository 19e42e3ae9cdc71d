"""Run pytest over what is asked, and set up only what that needs. The coverage gate applies to whole runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from local.setup.steps import ROOT

NEEDED_BY = {
    "clients": ("tests/clients",),
    "kusto": ("tests/infra",),
    "conformance": ("tests/deployment", "tests/functions/host", "tests/adversary/operators"),
    "azurite": (
        "tests/adversary", "tests/clients", "tests/contract", "tests/deployment", "tests/e2e", "tests/functions",
        "tests/upgrade",
    ),
}  # fmt: skip
"""Paths of tests, by what `local.setup` installs for them."""
_SELECTING = {
    "--lf",
    "--last-failed",
    "--sw",
    "--stepwise",
    "--deselect",
    "--ignore",
    "--ignore-glob",
    "--co",
    "--collect-only",
}
_GATE = ("--cov", "--cov-report=term")


@dataclass(frozen=True, slots=True)
class Plan:
    """Needs to set up before pytest starts, and whether the run is a whole one."""

    needs: tuple[str, ...]
    is_whole: bool


def plan(arguments: Sequence[str]) -> Plan:
    """Plan a run from pytest's arguments: paths and node ids restrict it, options such as `-k` select from it."""
    paths = [path for path in map(_path_of, arguments) if path is not None]
    asked = paths or [PurePosixPath("tests")]
    needs = tuple(need for need, places in NEEDED_BY.items() if any(_meet(path, at) for path in asked for at in places))
    return Plan(needs, is_whole=PurePosixPath("tests") in asked and not any(map(_selects, arguments)))


def main() -> None:
    arguments = sys.argv[1:]
    planned = plan(arguments)
    if planned.needs:
        setup = subprocess.run([sys.executable, "-m", "local.setup", *planned.needs], cwd=ROOT, check=False)
        if setup.returncode:
            sys.exit(setup.returncode)
    workers = os.environ.get("PYTEST_WORKERS", "auto")
    gate = _GATE if planned.is_whole else ()
    command = [sys.executable, "-m", "pytest", "-n", workers, "--durations=15", *gate, *arguments]
    os.execv(sys.executable, command)


def _path_of(argument: str) -> PurePosixPath | None:
    """The path that an argument names, relative to the repository; `None` for anything else."""
    name = argument.split("::")[0]
    if name.startswith("-") or not (Path.cwd() / name).exists():
        return None
    path = (Path.cwd() / name).resolve()
    return PurePosixPath(path.relative_to(ROOT)) if path.is_relative_to(ROOT / "tests") else None


def _selects(argument: str) -> bool:
    return argument.split("=")[0] in _SELECTING or argument.startswith(("-k", "-m"))


def _meet(path: PurePosixPath, place: str) -> bool:
    """True if one of the two holds the other."""
    return path.is_relative_to(place) or PurePosixPath(place).is_relative_to(path)


if __name__ == "__main__":
    main()
