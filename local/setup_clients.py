"""Install what tests/clients calls the gateway with: Python libraries in `.venv-clients`, Node's SDK in `.tools`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from local.setup_azurite import find_node, install

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-clients"
LOCK = ROOT / "requirements-clients.txt"
NODE_LOCK = ROOT / "tests" / "clients" / "node"
NODE_CLIENTS = ROOT / ".tools" / "clients"


def main() -> int:
    stamp, node_stamp = VENV / ".installed", NODE_CLIENTS / ".installed"
    if not _is_fresh(stamp, LOCK):
        result = subprocess.run([sys.executable, ROOT / "local" / "setup_venv.py", VENV, LOCK], check=False)
        if result.returncode:
            return result.returncode
    if _is_fresh(node_stamp, NODE_LOCK / "package-lock.json"):
        return 0
    found = find_node()
    if found is None:
        print("Node is needed for the clients: run 'make setup' first.", file=sys.stderr)
        return 2
    return install("the Node SDK", *found, NODE_LOCK, NODE_CLIENTS)


def _is_fresh(stamp: Path, lock: Path) -> bool:
    return stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime


if __name__ == "__main__":
    sys.exit(main())
