"""Checkpoints: the size and the root of a log, in the form of a note's text.

Source: https://c2sp.org/tlog-checkpoint. Extension lines are refused, because the gateway writes none.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from shared.domain.audit.merkle import HASH_BYTES
from shared.domain.audit.signed_note import NoteInvalid, decoded_base64
from shared.domain.values import value

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_LINES: Final = 3


@value
class Checkpoint:
    """The size and the root of a log."""

    origin: str
    """The name of the log."""
    size: int
    root: bytes


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """Return the text of a checkpoint's note. Equal checkpoints have equal texts."""
    root = base64.b64encode(checkpoint.root).decode()
    return f"{checkpoint.origin}\n{checkpoint.size}\n{root}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a note. Raises `NoteInvalid` unless `format_checkpoint` returns the same text for the result."""
    lines = text.split("\n")
    if len(lines) != _LINES + 1 or lines[_LINES] or not lines[0]:
        raise NoteInvalid("the note has not the three lines of a checkpoint")
    origin, size, encoded, _ = lines
    if _SIZE.fullmatch(size) is None:
        raise NoteInvalid("the size of the checkpoint is no number")
    root = decoded_base64(encoded)
    if root is None or len(root) != HASH_BYTES:
        raise NoteInvalid("the root of the checkpoint is no hash in base64")
    return Checkpoint(origin, int(size), root)
