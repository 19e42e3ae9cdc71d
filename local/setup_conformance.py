"""Where a Python 3.13 is found, install Microsoft's worker library for it: the conformance suite runs through it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-conformance"
LOCK = ROOT / "requirements-conformance.txt"


def find_python() -> str | None:
    """A Python 3.13: named by `CONFORMANCE_PYTHON`, on the PATH, or among pyenv's versions."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [os.environ.get("CONFORMANCE_PYTHON"), shutil.which("python3.13")]
    candidates += [str(path) for path in sorted(versions.glob("3.13*/bin/python3.13"), reverse=True)]
    return next((each for each in candidates if each and _is_wanted(each)), None)


def main() -> int:
    stamp = VENV / ".installed"
    if stamp.exists() and stamp.stat().st_mtime >= LOCK.stat().st_mtime:
        return 0
    python = find_python()
    if python is None:
        print("No Python 3.13 was found: the conformance suite will be skipped (in CI it fails).", flush=True)
        return 0
    return subprocess.run([python, ROOT / "local" / "setup_venv.py", VENV, LOCK], check=False).returncode


def _is_wanted(python: str) -> bool:
    try:
        probe = [python, "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 13))"]
        return subprocess.run(probe, check=False, timeout=30, capture_output=True).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


if __name__ == "__main__":
    sys.exit(main())
