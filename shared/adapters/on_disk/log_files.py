"""Files of a log of heads, copied from the container `anchors` into a folder, or held by another archive."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from shared.domain.audit.anchor_files import (
    CHECKPOINTS,
    HEADS,
    LEAVES,
    AnchorFiles,
    checkpoint_path,
    heads_path,
    leaf_path,
)

_NUMBERED: Final = re.compile(rf"(?:{HEADS}|{LEAVES})/(\d{{10}})\.json|{CHECKPOINTS}/(\d{{10}})", re.ASCII)
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
"""A larger file is none of ours. It is read as an empty one, so that it does not exhaust memory."""


class StoredLog:
    """Implements `LogFiles` over any way to list and read files."""

    def __init__(self, names: Iterable[str], read: Callable[[str], bytes | None], *, has_heads: bool = True) -> None:
        self._read = read
        self._has_heads = has_heads
        numbers = [found for name in names if (found := _NUMBERED.fullmatch(name))]
        self._signed = [int(found[2]) for found in numbers if found[2]]
        self.leaf_count = max([*self._signed, *(int(found[1]) + 1 for found in numbers if found[1])], default=0)
        """One more than the highest number of a leaf that any file has."""

    @property
    def has_heads(self) -> bool:
        return self._has_heads

    def leaves(self) -> Iterator[AnchorFiles]:
        for n in range(self.leaf_count):
            leaf = self._read(leaf_path(n))
            heads = self._read(heads_path(n)) if self._has_heads else None
            yield AnchorFiles(n=n, leaf=leaf, heads=heads, checkpoint=self._read(checkpoint_path(n + 1)))
            if leaf is None:  # nothing after it can be proved, and the numbers may be forged
                return

    def signed_size(self) -> int:
        """Return the number of the newest checkpoint; 0 if there is none."""
        return max(self._signed, default=0)

    def newest_checkpoint(self) -> bytes | None:
        """Return the checkpoint with the highest number; `None` if there is none."""
        return self._read(checkpoint_path(self.signed_size()))


def open_folder(folder: Path) -> StoredLog:
    """Return the log in a folder. Raises `FileNotFoundError` if the folder has no leaf, and `OSError`."""
    folders = [folder / name for name in (HEADS, LEAVES, CHECKPOINTS)]
    if not any(each.is_dir() for each in folders):
        raise FileNotFoundError(f"{folder} is not a copy of the container of anchors: it has no folder {LEAVES}.")
    names = (f"{each.name}/{file.name}" for each in folders if each.is_dir() for file in each.iterdir())
    return StoredLog(names, lambda path: _content(folder / path))


def _content(path: Path) -> bytes | None:
    """Return a file's bytes. Of a file that is none of ours, such as a link to a device, return none of them."""
    if not path.is_file():
        return b"" if path.exists() else None
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        return b""
    with path.open("rb") as file:
        return file.read(size)
