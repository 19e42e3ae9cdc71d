"""Write `tallygate` into a virtual environment: the command line of this checkout."""

from __future__ import annotations

from pathlib import Path

from local.setup.steps import ROOT

# Python reads the first line as a string; a shell reads it as a command, which may have a path with blanks.
_TEMPLATE = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys

sys.path.insert(0, {root!r})

from shared.cli.__main__ import main

sys.exit(main())
"""


def write_launcher(folder: Path, root: Path = ROOT) -> None:
    """Write `bin/tallygate`, which runs the command line of `root` from any folder."""
    launcher = folder / "bin" / "tallygate"
    text = _TEMPLATE.format(python=folder / "bin" / "python", root=str(root))
    if not launcher.exists() or launcher.read_text() != text:
        launcher.write_text(text)
        launcher.chmod(0o755)
