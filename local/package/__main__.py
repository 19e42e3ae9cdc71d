"""Write `dist/gateway.zip` and its checksum. Runs on a bare Python, as `local.setup` does."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from local.package.archive import write_archive, write_digest
from local.package.build import PYTHON_VERSION, fill
from local.package.ignored import Unexpected
from local.setup.needs import find_python_3_13
from local.setup.python_packages import find_uv
from local.setup.steps import ROOT, StepFailed

_NO_PYTHON = f"""Python {PYTHON_VERSION} is needed to compile the package, as it runs in Azure.
Install it, or name one with CONFORMANCE_PYTHON=/path/to/python{PYTHON_VERSION}."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make package", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "gateway.zip", help="the file to write")
    archive: Path = parser.parse_args().output.resolve()
    python, uv = find_python_3_13(), find_uv()
    if python is None or uv is None:
        print(_NO_PYTHON if python is None else "uv is needed to install packages for Azure.", file=sys.stderr)
        return 2
    os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix="tallygate-package-") as folder:
            fill(Path(folder), python, uv)
            write_archive(Path(folder), archive)
    except (StepFailed, Unexpected) as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 2
    print(f"{archive}\n  {archive.stat().st_size} bytes\n  sha256 {write_digest(archive)}\n  {_version_of(python)}")
    return 0


def _version_of(python: Path) -> str:
    """Return the version with its patch: the same bytes come from the same compiler only."""
    asked = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
    return f"compiled by {asked.stdout.strip()}"


if __name__ == "__main__":
    sys.exit(main())
