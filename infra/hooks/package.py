"""See to it that the package which is deployed is that of this checkout, or one that somebody chose."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

from infra.hooks.failures import HookFailed
from infra.hooks.variables import variable

ROOT: Final = Path(__file__).resolve().parents[2]


def prepare_package() -> None:
    """Build `dist/gateway.zip`. If TALLYGATE_PACKAGE names a package that was built before, check that one.

    Raises `HookFailed`.
    """
    if chosen := variable("TALLYGATE_PACKAGE"):
        check_package(ROOT / chosen)
    elif subprocess.run([sys.executable, "-m", "local.package"], cwd=ROOT, check=False).returncode:
        raise HookFailed("The package could not be built, so nothing is deployed.")


def check_package(package: Path) -> None:
    """Compare a package with the checksum beside it. Raises `HookFailed`."""
    stated = package.with_name(f"{package.name}.sha256")
    if not package.is_file() or not stated.is_file():
        raise HookFailed(f"{package} and {stated.name} beside it are needed. `make package` writes both.")
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    if stated.read_text().split()[:1] != [digest]:
        raise HookFailed(f"{package} is not the file of which {stated.name} tells: its SHA-256 is {digest}.")
    print(f"Package: {package.name}, sha256 {digest}.")
