"""Check the Bicep templates: with the Bicep CLI where it is on PATH, and with the tests in any case."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from local.setup.steps import ROOT

TEMPLATES = ("infra/main.bicep", "infra/policy/main.bicep", "infra/container-apps/main.bicep")
PROFILES = "infra/profiles"


def main() -> int:
    """Return the exit code: that of the first command that fails, or 0."""
    bicep = shutil.which("bicep")
    if bicep is None:
        print("bicep is not on PATH: the templates are neither built, linted nor expanded. The offline checks run.")
    elif code := _compiled(bicep):
        return code
    return _run((sys.executable, "-m", "pytest", "-q", "tests/infra"))


def _compiled(bicep: str) -> int:
    """Build and lint each template, and expand it with each file of parameters. Nothing is written in the checkout."""
    for template in TEMPLATES:
        if code := _run((bicep, "lint", template)) or _run((bicep, "build", template, "--stdout"), is_quiet=True):
            return code
    with TemporaryDirectory(dir=ROOT / "infra") as folder:  # `using` takes a path relative to the parameters
        for parameters in sorted((ROOT / PROFILES).glob("*.json")):
            if code := _expanded(bicep, parameters, Path(folder)):
                return code
    return 0


def _expanded(bicep: str, parameters: Path, folder: Path) -> int:
    """Turn a file of parameters into Bicep's own form, which `snapshot` wants, and expand the template with it."""
    converted = folder / f"{parameters.name.partition('.')[0]}.bicepparam"
    template = str(ROOT / TEMPLATES[0])
    convert = (bicep, "decompile-params", str(parameters), "--bicep-file", template, "--outfile", str(converted))
    return _run(convert) or _run((bicep, "snapshot", str(converted), "--mode", "overwrite"))


def _run(command: Sequence[str], *, is_quiet: bool = False) -> int:
    print(" ".join(command), flush=True)
    output = subprocess.DEVNULL if is_quiet else None
    return subprocess.run(command, cwd=ROOT, stdout=output, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
