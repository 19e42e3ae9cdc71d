"""Files of the subtrees of a log, from which the path of a leaf is made without reading all leaves before it.

They prove nothing by themselves: each is checked against the checkpoint of its size. Verifiers do not read them.
"""

from __future__ import annotations

import base64
import json
from typing import Final

from shared.domain.audit.checkpoint import parse_checkpoint
from shared.domain.audit.merkle import CompactRange
from shared.domain.audit.signed_note import NoteInvalid, parse_note

SUBTREES_EVERY: Final = 64
"""Leaves between two such files: five hours."""


def subtrees_path(size: int) -> str:
    """Return the path of the subtrees under the first `size` leaves."""
    return f"subtrees/{size:010}.json"


def format_subtrees(tree: CompactRange) -> bytes:
    """Return the file of some subtrees."""
    return json.dumps([base64.b64encode(each).decode() for each in tree.hashes]).encode()


def parse_subtrees(content: bytes, size: int, checkpoint: bytes) -> CompactRange | None:
    """Read a file of subtrees. Returns `None` unless they are those of the log that the checkpoint names."""
    try:
        tree = CompactRange(size, [base64.b64decode(each, validate=True) for each in json.loads(content)])
    except (ValueError, TypeError, RecursionError):
        return None
    return tree if is_root(tree, checkpoint) else None


def is_root(tree: CompactRange, checkpoint: bytes) -> bool:
    """Tell whether a checkpoint is of this tree. Its signature is not looked at."""
    try:
        stated = parse_checkpoint(parse_note(checkpoint).text)
    except NoteInvalid:
        return False
    return (stated.size, stated.root) == (tree.size, tree.root())
