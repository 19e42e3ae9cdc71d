"""Install Azurite under `.tools/azurite`: with npm where Node 20 or later is present, else with Node from PyPI."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".tools" / "azurite"
LOCK = ROOT / "local" / "azurite"
SERVER = TOOLS / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
OLDEST_NODE = 20


def find_node() -> tuple[str, str] | None:
    """The paths of a Node that is new enough and of its npm; those in the virtual environment come last."""
    beside_python = Path(sys.executable).parent
    for node, npm in (
        (shutil.which("node"), shutil.which("npm")),
        (shutil.which("node", path=str(beside_python)), shutil.which("npm", path=str(beside_python))),
    ):
        if node and npm and _major_version(node) >= OLDEST_NODE:
            return node, npm
    return None


def main() -> int:
    found = find_node()
    if found is None:
        print(f"No Node {OLDEST_NODE} or later with npm is on the PATH; installing Node from PyPI ...", flush=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        subprocess.run([*pip, "--require-hashes", "--no-deps", "-r", ROOT / "requirements-node.txt"], check=True)
        found = find_node()
    if found is None:
        print("Node could not be installed. Install Node 20 or later and try again.", file=sys.stderr)
        return 2
    return install("Azurite", *found, LOCK, TOOLS)


def install(what: str, node: str, npm: str, lock: Path, folder: Path) -> int:
    """Install what a lock file pins; the exit status."""
    print(f"Installing {what} with {npm} ...", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(lock / name, folder / name)
    command = [npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(command, cwd=folder, check=True)
    except subprocess.CalledProcessError as error:
        print(f"Installing {what} failed with exit status {error.returncode}; see above.", file=sys.stderr)
        return 2
    (folder / ".installed").write_text(node)
    return 0


def _major_version(node: str) -> int:
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=True, timeout=30)
        return int(answer.stdout.strip().lstrip("v").split(".")[0])
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
