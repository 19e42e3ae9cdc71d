"""Find Node and install npm packages from a lock file."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from local.setup.stamps import is_installed, mark_installed
from local.setup.steps import ROOT, TOOLS, StepFailed, run, step

OLDEST_NODE = 20
NODE_FROM_PYPI = TOOLS / "node"
_QUIET = ("--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")


@dataclass(frozen=True, slots=True)
class NodeFolder:
    """A folder of npm packages under `.tools`, and the folder of the repository that pins them."""

    title: str
    folder: Path
    source: Path

    @property
    def modules(self) -> Path:
        return self.folder / "node_modules"

    def is_current(self) -> bool:
        return is_installed(self.folder, self.pins)

    @property
    def pins(self) -> tuple[Path, Path]:
        return self.source / "package.json", self.source / "package-lock.json"


AZURITE = NodeFolder("Azurite, the storage emulator", TOOLS / "azurite", ROOT / "local" / "azurite")
AZURITE_SERVER = AZURITE.modules / "azurite" / "dist" / "src" / "azurite.js"
NODE_CLIENTS = NodeFolder("the OpenAI SDK for Node", TOOLS / "clients", ROOT / "tests" / "clients" / "node")
KUSTO = NodeFolder("the Kusto language service", TOOLS / "kusto", ROOT / "tests" / "infra" / "kusto")


def find_node() -> tuple[str, str] | None:
    """Paths of a Node that is new enough and of its npm: those on the PATH, else those that came from PyPI."""
    for path in (None, str(NODE_FROM_PYPI / "bin")):
        node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
        if node and npm and _major_version(node) >= OLDEST_NODE:
            return node, npm
    return None


def install(packages: NodeFolder) -> None:
    """Install what the lock file names. Raises `StepFailed`, also where there is no Node."""
    found = find_node()
    if found is None:
        raise StepFailed(f"{packages.title} needs Node {OLDEST_NODE} or later with npm.")
    with step(f"{packages.title} with npm"):
        packages.folder.mkdir(parents=True, exist_ok=True)
        for pin in packages.pins:
            shutil.copy(pin, packages.folder)
        command = [found[1], "ci", "--omit=dev", "--ignore-scripts", *_QUIET]
        run(packages.folder.name, command, packages.folder)
    mark_installed(packages.folder, packages.pins)


def _major_version(node: str) -> int:
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=True, timeout=30)
        return int(answer.stdout.strip().lstrip("v").split(".")[0])
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0
