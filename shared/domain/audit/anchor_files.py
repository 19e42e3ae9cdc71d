"""The files of the log of heads: heads of chains, and a leaf for each moment at which they were read.

Their bytes are canonical JSON, so that each meaning has one form. docs/reference/ledger.md describes them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from shared.domain.audit.merkle import HASH_BYTES, tree_root
from shared.domain.audit.signed_note import decoded_base64
from shared.domain.values import record

UNREAD: Final = -1
"""The number in the head of a chain that could not be read."""
CONTAINER: Final = "anchors"
"""The place of the log in reports."""
CHECKPOINTS: Final = "checkpoint"
LEAVES: Final = "leaf"
HEADS: Final = "heads"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


class AnchorFileInvalid(ValueError):
    """A file is not one that the gateway writes. The message tells the reason."""


@record
class ChainHead:
    """The last entry of a hash chain."""

    chain: str
    """For example `ledger/2026-11/acme|00`."""
    seq: int
    """The entry's number; 0 if the chain is empty, -1 if it could not be read."""
    head: str
    """The entry's hash; the genesis hash of an empty chain; empty if it could not be read."""
    is_closed: bool = False
    """No entry can follow."""

    @property
    def is_sound(self) -> bool:
        """The number is one of an entry, and the hash is one. Damaged rows can state others."""
        return type(self.seq) is int and self.seq >= 0 and _HASH.fullmatch(self.head) is not None

    @property
    def group(self) -> str:
        """The kind and the period of the chain, for example `ledger/2026-11`."""
        return group_of(self.chain)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which are a leaf of the tree of heads."""
        return _canonical(self._fields())

    def _fields(self) -> dict[str, str | int | bool]:
        fields: dict[str, str | int | bool] = {"chain": self.chain, "head": self.head, "seq": self.seq}
        return {**fields, "closed": True} if self.is_closed else fields


@record
class Leaf:
    """A leaf of the log: the heads of all chains at one moment."""

    n: int
    """The leaf's number, from 0."""
    at: str
    """RFC 3339 in UTC with milliseconds."""
    period: str
    """The billing period of that moment."""
    count: int
    """The number of heads."""
    heads_root: bytes
    """The root of the tree of heads."""
    final: tuple[str, ...] = ()
    """The groups whose chains were all closed in this leaf or in an earlier one. Later leaves leave them out."""

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        root = base64.b64encode(self.heads_root).decode()
        fields = {"at": self.at, "count": self.count, "heads_root": root, "n": self.n, "period": self.period}
        return _canonical({**fields, "final": list(self.final)} if self.final else fields)


def heads_path(n: int) -> str:
    """Return the path of the heads of leaf `n`."""
    return f"{HEADS}/{n:010}.json"


def leaf_path(n: int) -> str:
    """Return the path of leaf `n`."""
    return f"{LEAVES}/{n:010}.json"


def checkpoint_path(size: int) -> str:
    """Return the path of the checkpoint over `size` leaves."""
    return f"{CHECKPOINTS}/{size:010}"


@record
class AnchorFiles:
    """The files of one leaf; `None` for one that does not exist."""

    n: int
    leaf: bytes | None
    heads: bytes | None
    checkpoint: bytes | None
    """The checkpoint over the leaves 0 to n."""


def unread_head(chain: str) -> ChainHead:
    """Return the row of a chain that could not be read."""
    return ChainHead(chain=chain, seq=UNREAD, head="")


def group_of(chain: str) -> str:
    """Return the kind and the period of a chain, for example `ledger/2026-11`."""
    return "/".join(chain.split("/", 2)[:2])


def format_heads(heads: Iterable[ChainHead]) -> bytes:
    """Return the file of some heads, sorted by chain."""
    return b"[" + b",".join(head.to_bytes() for head in sorted(heads, key=lambda head: head.chain)) + b"]"


def heads_root(heads: Iterable[ChainHead]) -> bytes:
    """Return the root of the tree over heads, which are sorted by chain."""
    return tree_root(head.to_bytes() for head in heads)


def parse_heads(content: bytes) -> Sequence[ChainHead]:
    """Read a file of heads. Raises `AnchorFileInvalid` unless `format_heads` writes the same bytes."""
    rows = _parsed(content)
    if not isinstance(rows, list):
        raise AnchorFileInvalid("the file is no list of heads")
    heads = [_head(row) for row in rows]
    chains = [head.chain for head in heads]
    if len(set(chains)) != len(chains) or format_heads(heads) != content:
        raise AnchorFileInvalid("the file names a chain twice, or is not in its canonical form")
    return heads


def parse_leaf(content: bytes) -> Leaf:
    """Read a leaf. Raises `AnchorFileInvalid` unless its bytes are those that the gateway writes."""
    fields = _parsed(content)
    match fields:
        case {"n": int(n), "at": str(at), "period": str(period), "count": int(count), "heads_root": str(encoded)} if (
            not isinstance(n, bool) and not isinstance(count, bool)
        ):
            root, final = decoded_base64(encoded), fields.get("final", [])
        case _:
            raise AnchorFileInvalid("the file is no leaf")
    if root is None or len(root) != HASH_BYTES or not _are_groups(final):
        raise AnchorFileInvalid("the leaf's root is no hash in base64, or its final groups are no sorted list")
    leaf = Leaf(n=n, at=at, period=period, count=count, heads_root=root, final=tuple(final))
    if leaf.to_bytes() != content:
        raise AnchorFileInvalid("the leaf is not in its canonical form")
    return leaf


def final_groups(heads: Iterable[ChainHead], before: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the groups of which all heads are closed, and those that were final before, sorted."""
    is_final: dict[str, bool] = {}
    for head in heads:
        is_final[head.group] = is_final.get(head.group, True) and head.is_closed
    return tuple(sorted({*before, *(group for group, every in is_final.items() if every)}))


def head_faults(
    before: Mapping[str, ChainHead], after: Iterable[ChainHead], final: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield each chain that lost entries between two leaves, or has others, with the fault in words.

    `before` has the last known heads by chain, and `final` the groups that were final then.
    """
    named = {head.chain: head for head in after}
    for chain, head in named.items():
        if head.group in final:
            yield chain, f"is there again, although no chain of {head.group} could change any more"
        elif chain in before and head.seq != UNREAD and (fault := _head_fault(before[chain], head)):
            yield chain, fault
    for chain, head in before.items():
        if chain not in named and head.group not in final:
            yield chain, f"is missing; before it had {head.seq} entries"


def _head_fault(before: ChainHead, after: ChainHead) -> str | None:
    if after.seq < before.seq:
        return f"has {after.seq} entries; before it had {before.seq}"
    if after.seq == before.seq and after.head != before.head:
        return f"has another entry {after.seq} than before"
    if before.is_closed and after != before:
        return f"changed after entry {before.seq}, which closed it"
    return None


def _head(row: Any) -> ChainHead:
    match row:
        case {"chain": str(chain), "head": str(head), "seq": int(seq)} if seq >= UNREAD and not isinstance(seq, bool):
            return ChainHead(chain=chain, seq=seq, head=head, is_closed=row.get("closed") is True)
        case _:
            raise AnchorFileInvalid("a row of the file is no head of a chain")


def _canonical(fields: object) -> bytes:
    # A file can name half of a surrogate pair. It is replaced, so that the file is found not to be canonical.
    return _encode(fields).encode(errors="replace")


def _are_groups(final: object) -> bool:
    return isinstance(final, list) and all(isinstance(each, str) for each in final) and sorted(set(final)) == final


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise AnchorFileInvalid("the file is no JSON") from None
