"""List what can be needed, and install it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from local.setup import node_packages, python_packages
from local.setup.launcher import write_launcher
from local.setup.node_packages import AZURITE, KUSTO, NODE_CLIENTS, NODE_FROM_PYPI, NodeFolder, find_node
from local.setup.python_packages import VirtualEnvironment
from local.setup.steps import LOGS, ROOT


def _locks(*names: str) -> tuple[Path, ...]:
    return tuple(ROOT / f"requirements{name}.txt" for name in names)


VENV = ROOT / ".venv"
RUNTIME = VirtualEnvironment(VENV, _locks("", "-local"), superset=_locks("-dev"))
DEVELOPMENT = VirtualEnvironment(VENV, _locks("-dev"), is_compiled=True)
CONFORMANCE = VirtualEnvironment(ROOT / ".venv-conformance", _locks("-conformance"), is_compiled=True)
CLIENTS = VirtualEnvironment(ROOT / ".venv-clients", _locks("-clients"))
NODE = VirtualEnvironment(NODE_FROM_PYPI, _locks("-node"))

NEEDS: dict[str, tuple[VirtualEnvironment | NodeFolder, ...]] = {
    "run": (RUNTIME, AZURITE),
    "development": (DEVELOPMENT,),
    "azurite": (AZURITE,),
    "conformance": (CONFORMANCE,),
    "clients": (CLIENTS, NODE_CLIENTS),
    "kusto": (KUSTO,),
}


def satisfy(names: Sequence[str]) -> None:
    """Install what these needs name and is not current, Python and npm packages at the same time.

    Raises `StepFailed`.
    """
    missing = [each for name in names for each in NEEDS[name] if not each.is_current()]
    if missing:
        print(f"Setting up for: {', '.join(names)}. Output of pip, uv and npm is in {LOGS}.", flush=True)
    environments = [each for each in missing if isinstance(each, VirtualEnvironment)]
    node_folders = [each for each in missing if isinstance(each, NodeFolder)]
    has_node = not node_folders or find_node() is not None
    with ThreadPoolExecutor() as pool:
        filled = pool.submit(_fill, environments if has_node else [NODE, *environments])
        if not has_node:
            filled.result()
        pool.submit(_install_node_packages, node_folders).result()
        filled.result()
    if any(each in (RUNTIME, DEVELOPMENT) for name in names for each in NEEDS[name]):
        write_launcher(VENV)


def find_python_3_13() -> Path | None:
    """A Python 3.13: named by `CONFORMANCE_PYTHON`, on the PATH, or among pyenv's versions."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [os.environ.get("CONFORMANCE_PYTHON"), shutil.which("python3.13")]
    candidates += [str(path) for path in sorted(versions.glob("3.13*/bin/python3.13"), reverse=True)]
    return next((Path(each) for each in candidates if each and _is_3_13(each)), None)


def _fill(environments: Sequence[VirtualEnvironment]) -> None:
    uv = python_packages.find_uv() if environments else None
    for environment in environments:
        python = find_python_3_13() if environment == CONFORMANCE else Path(sys.executable)
        if python is None:
            print("  No Python 3.13 was found: what needs it is skipped (in CI it fails).", flush=True)
        else:
            python_packages.install(environment, python, uv)


def _install_node_packages(folders: Sequence[NodeFolder]) -> None:
    for folder in folders:
        node_packages.install(folder)


def _is_3_13(python: str) -> bool:
    try:
        probe = [python, "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 13))"]
        return subprocess.run(probe, check=False, timeout=30, capture_output=True).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
