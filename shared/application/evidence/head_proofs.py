"""Proofs of single heads in a package of one tenant, which has not the heads of others."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shared.application.audit.verify_anchors import AnchorFinding
from shared.application.evidence.audit_lines import canonical_object_of
from shared.application.ports.anchors import DatedHeads
from shared.domain.audit.anchor_files import UNREAD, ChainHead
from shared.domain.audit.merkle import is_included


def add_proved_heads(
    lines: Iterable[bytes], roots: Mapping[int, bytes], times: Mapping[int, str], heads: DatedHeads, newest: set[str]
) -> Iterator[AnchorFinding]:
    """Add each head whose path leads to the root of its leaf. Yields the lines that prove nothing.

    `newest` gets the chains whose head in the newest leaf is proved.
    """
    last = max(roots, default=-1)
    for number, line in enumerate(lines, 1):
        proved = _proved(line, roots)
        if proved is None:
            yield AnchorFinding("proofs/heads.jsonl", f"line {number} does not prove that its head is in its leaf")
        else:
            n, head = proved
            if n == last:
                newest.add(head.chain)
            if head.seq != UNREAD:
                heads.add([head], n, times[n])


def _proved(line: bytes, roots: Mapping[int, bytes]) -> tuple[int, ChainHead] | None:
    row, is_canonical = canonical_object_of(line)
    try:
        stated, path = row["head"], [base64.b64decode(each, validate=True) for each in row["heads"]["path"]]
        head = ChainHead(
            chain=str(stated["chain"]),
            seq=int(stated["seq"]),
            head=str(stated["head"]),
            is_closed=stated.get("closed") is True,
        )
        n, index, size = row["n"], row["heads"]["index"], row["heads"]["size"]
        is_ours = is_canonical and _is_form(row) and json.loads(head.to_bytes()) == stated
        is_right = is_ours and n in roots and is_included(head.to_bytes(), index, size, path, roots[n])
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    return (n, head) if is_right else None


def _is_form(row: Mapping[str, Any]) -> bool:
    """Tell whether a line has its properties and no others, and whole numbers where they belong."""
    names, numbers = row.keys(), (row["n"], row["heads"]["index"], row["heads"]["size"])
    is_form = names == {"head", "heads", "n"} and row["heads"].keys() == {"index", "path", "size"}
    return is_form and all(type(number) is int for number in numbers)
