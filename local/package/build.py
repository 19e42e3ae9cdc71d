"""Fill a folder as the Functions host will find it: this checkout, its locked packages, and bytecode of Python 3.13."""

from __future__ import annotations

import shutil
from pathlib import Path

from local.package.ignored import deployed_files
from local.setup.steps import ROOT, Command, StepFailed, run, step

PYTHON_VERSION = "3.13"
PLATFORM = "x86_64-manylinux_2_28"
PACKAGES = Path(".python_packages/lib/site-packages")
_IN_AZURE = "/home/site/wwwroot"
"""The folder in which the app runs. Tracebacks name it."""
_FIXED = {"PYTHONHASHSEED": "0"}
"""Bytecode holds sets in the order of their hashes."""


def fill(folder: Path, python: Path, uv: Path, root: Path = ROOT) -> None:
    """Copy, install and compile into an empty folder. Raises `StepFailed` and `Unexpected`."""
    for file in deployed_files(root):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, folder / file)
    with step("packages of requirements.txt"):
        _install(folder / PACKAGES, uv, root)
    with step(f"bytecode of Python {PYTHON_VERSION}"):
        _compile(folder, python)


def _install(packages: Path, uv: Path, root: Path) -> None:
    """Install wheels for Azure's Python and platform, whatever runs here. Each must have a hash of the lock file."""
    wheels: Command = [
        "--no-build",
        "--require-hashes",
        "--python-version",
        PYTHON_VERSION,
        "--python-platform",
        PLATFORM,
    ]
    run("package", [uv, "pip", "install", *wheels, "--target", packages, "-r", root / "requirements.txt"])
    # Commands and their checksums hold the path of an interpreter of this machine; no function runs them.
    shutil.rmtree(packages / "bin", ignore_errors=True)
    (packages / ".lock").unlink(missing_ok=True)
    for record in packages.glob("*.dist-info/RECORD"):
        kept = [line for line in record.read_text().splitlines() if not line.startswith("bin/")]
        record.write_text("\n".join(kept) + "\n")


def _compile(folder: Path, python: Path) -> None:
    """Write bytecode that is never compared with its source: it states no time, and its name in Azure."""
    compiled: Command = ["-s", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    run("package", [python, *compiled, "-s", folder, "-p", _IN_AZURE, folder], environment=_FIXED)
    if not any(folder.glob(f"shared/__pycache__/*.cpython-{PYTHON_VERSION.replace('.', '')}.pyc")):
        raise StepFailed(f"{python} is not Python {PYTHON_VERSION}")
