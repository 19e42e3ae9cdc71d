"""Decide by `.funcignore` which files of this checkout belong to the package.

Every pattern begins with `/`, so that Azure Functions Core Tools and azd apply it to the top folder only, and never to
a folder of the same name inside a package of Python. A pattern may hold `*`. Bytecode of this machine is never taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

BYTECODE = "__pycache__"
DEPLOYED = ("LICENSE", "function_app.py", "host.json", "requirements.txt", "shared")
"""All that may stand at the top of a package, beside the installed packages."""


class Unexpected(Exception):
    """Names what `.funcignore` leaves and no package should hold."""


def patterns(root: Path) -> list[str]:
    """Return the patterns of `.funcignore` without their leading `/`. Raises `Unexpected` for another form."""
    lines = (root / ".funcignore").read_text().split()
    wrong = [line for line in lines if not line.startswith("/") or "/" in line[1:]]
    if wrong:
        raise Unexpected(f"Patterns of .funcignore must have the form /name: {', '.join(wrong)}.")
    return [line[1:] for line in lines]


def deployed_files(root: Path) -> list[Path]:
    """Return the files to deploy, relative to the root and sorted by name.

    Raises `Unexpected` if something else than `DEPLOYED` is left at the top: it would be sent to Azure by chance.
    """
    ignored = patterns(root)
    names = sorted(each.name for each in root.iterdir())
    left = [name for name in names if not any(fnmatchcase(name, each) for each in ignored)]
    strange = [name for name in left if name not in DEPLOYED]
    if strange:
        raise Unexpected(f"These would be deployed: {', '.join(strange)}. Move them, or name them in .funcignore.")
    missing = [name for name in DEPLOYED if name not in left]
    if missing:
        raise Unexpected(f"These are missing: {', '.join(missing)}.")
    found = [file for name in left for file in _files(root / name)]
    return sorted(file.relative_to(root) for file in found)


def _files(path: Path) -> Iterator[Path]:
    if path.is_symlink():
        raise Unexpected(f"{path} is a link, and packages hold files only.")
    if not path.is_dir():
        yield path
    elif path.name != BYTECODE:
        for each in sorted(path.iterdir()):
            yield from _files(each)
