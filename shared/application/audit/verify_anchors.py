"""Verify the log of heads from its files: signatures, roots, and that no chain lost an entry.

It needs no settings and no storage, so that an auditor runs the same code on files.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from shared.domain.audit.anchor_files import (
    UNREAD,
    AnchorFileInvalid,
    AnchorFiles,
    ChainHead,
    Leaf,
    checkpoint_path,
    final_groups,
    head_faults,
    heads_path,
    heads_root,
    leaf_path,
    parse_heads,
    parse_leaf,
)
from shared.domain.audit.checkpoint import Checkpoint, parse_checkpoint
from shared.domain.audit.merkle import CompactRange
from shared.domain.audit.signed_note import NoteInvalid, PublicKey, named_keys, parse_note, require_signed
from shared.domain.values import value

LONGEST_GAP: Final = timedelta(minutes=10)


@value
class AnchorFinding:
    """A violation in the log. The message names what is wrong in words."""

    path: str
    """The file that shows it."""
    message: str
    chain: str = ""
    """The chain that it is about; empty if it is about the whole log."""


def signed_checkpoint(content: bytes, origin: str, keys: Iterable[PublicKey]) -> Checkpoint:
    """Read a checkpoint, and verify its signatures. Raises `NoteInvalid`.

    An empty `origin` accepts that of the checkpoint: the keys then decide alone.
    """
    note = parse_note(content)
    checkpoint = parse_checkpoint(note.text)
    if origin and checkpoint.origin != origin:
        raise NoteInvalid(f"the checkpoint is of the log {checkpoint.origin!r}, not of {origin!r}")
    require_signed(note, named_keys(checkpoint.origin, keys))
    return checkpoint


class AnchorReplay:
    """Reads the files of a log from its first leaf on, one leaf after the other.

    - `keys` are the keys that the auditor trusts.
    - `kept` are checkpoints that somebody kept elsewhere, such as a witness: the log must contain them.
    - `since` is a time before which only the leaves are read: all later checkpoints cover them.
    - `on_heads` gets the heads of each leaf that are new, and may be left out.
    - `has_heads` is false for a package of one tenant. It has proofs of its own heads instead of all heads.
    """

    def __init__(
        self,
        keys: Sequence[PublicKey],
        *,
        origin: str = "",
        kept: Iterable[bytes] = (),
        since: str = "",
        on_heads: Callable[[Sequence[ChainHead]], None] | None = None,
        has_heads: bool = True,
    ) -> None:
        self._keys = keys
        self._kept_texts = list(kept)
        self._kept: dict[int, list[Checkpoint]] = {}
        self._since = since
        self._on_heads = on_heads
        self._has_heads = has_heads
        self._log = CompactRange()
        self._heads: dict[str, ChainHead] = {}
        self._last: Leaf | None = None
        self.origin = origin
        """The name of the log; by default that of its first checkpoint."""
        self.signed_size = 0
        """The number of leaves under the newest checkpoint that is right."""
        self.first_at = ""
        self.last_at = ""
        """The times of the first and of the last leaf."""
        self.is_broken = False
        """A leaf is missing or unreadable. Nothing after it can be proved."""
        self.notes: list[str] = []
        """Facts that are no violation by themselves: times without anchors, and chains that could not be read."""

    @property
    def heads(self) -> Mapping[str, ChainHead]:
        """The last known heads of all chains that are not final, by chain."""
        return self._heads

    @property
    def final(self) -> tuple[str, ...]:
        """The groups whose chains are all closed and anchored."""
        return self._last.final if self._last else ()

    @property
    def heads_root(self) -> bytes:
        """The root of the heads of the last leaf."""
        return self._last.heads_root if self._last else b""

    @property
    def size(self) -> int:
        """The number of leaves that were read."""
        return self._log.size

    def begin(self) -> Iterator[AnchorFinding]:
        """Read the checkpoints that were kept elsewhere. Yields those that are not signed by a trusted key."""
        for text in self._kept_texts:
            try:
                checkpoint = signed_checkpoint(text, self.origin, self._keys)
            except NoteInvalid as error:
                yield AnchorFinding("", f"a checkpoint that was kept elsewhere is not valid: {error}")
            else:
                self._kept.setdefault(checkpoint.size, []).append(checkpoint)

    def add(self, files: AnchorFiles) -> Iterator[AnchorFinding]:
        """Read the files of the next leaf. Yields the violations that they show."""
        if self.is_broken:
            return
        n, before = self._log.size, self._last
        if n and self.signed_size < n:
            yield AnchorFinding(checkpoint_path(n), "the checkpoint is missing or wrong, and a later leaf exists")
            self.signed_size = n  # told once
        leaf = yield from self._leaf(files, n)
        if leaf is None:
            self.is_broken = True
            return
        self._log.append(files.leaf or b"")
        self._last = leaf
        if leaf.at < self._since:
            self.signed_size = n + 1  # by a later checkpoint
        else:
            yield from self._times(leaf, before)
            yield from self._checkpoint(files.checkpoint, n + 1)
            if self._has_heads:
                yield from self._compare_heads(files.heads, leaf, before.final if before else ())
        for kept in self._kept.pop(n + 1, ()):
            if kept.root != self._log.root():
                yield AnchorFinding(checkpoint_path(n + 1), "a checkpoint that was kept elsewhere has another root")

    def finish(self) -> Iterator[AnchorFinding]:
        """End the reading. Yields the checkpoints that were kept elsewhere, and that the log does not reach."""
        if self.signed_size < self._log.size and not self.is_broken:
            self.notes.append(f"leaf {self._log.size - 1} is not signed yet: a writer was interrupted, or works now")
        for size in sorted(self._kept):
            if size > self._log.size:
                message = f"a checkpoint over {size} leaves was kept elsewhere, and the log has only {self._log.size}"
                yield AnchorFinding(checkpoint_path(size), message)

    def _leaf(self, files: AnchorFiles, n: int) -> Generator[AnchorFinding, None, Leaf | None]:
        """Return the leaf; `None` after a finding that ends the reading."""
        if files.n != n or files.leaf is None:
            yield AnchorFinding(leaf_path(n), f"leaf {n} is missing: nothing after it can be proved")
            return None
        try:
            leaf = parse_leaf(files.leaf)
        except AnchorFileInvalid as error:
            yield AnchorFinding(leaf_path(n), f"leaf {n} cannot be read, and nothing after it proved: {error}")
            return None
        if leaf.n != n or leaf.period != leaf.at[:7]:
            yield AnchorFinding(leaf_path(n), f"leaf {n} states the number {leaf.n} and the period {leaf.period}")
        return leaf

    def _times(self, leaf: Leaf, before: Leaf | None) -> Iterator[AnchorFinding]:
        at, since = moment_of(leaf.at), moment_of(before.at) if before else None
        self.first_at, self.last_at = self.first_at or leaf.at, leaf.at
        if at is None:
            yield AnchorFinding(leaf_path(leaf.n), f"the time {leaf.at!r} of leaf {leaf.n} is none")
        elif before and since and at - since > LONGEST_GAP:
            minutes = int((at - since).total_seconds() // 60)
            self.notes.append(f"no anchor for {minutes} minutes: leaf {before.n} {before.at}, leaf {leaf.n} {leaf.at}")
        elif before and since and at < since:
            self.notes.append(f"the clock went back from {before.at} (leaf {before.n}) to {leaf.at} (leaf {leaf.n})")

    def _checkpoint(self, content: bytes | None, size: int) -> Iterator[AnchorFinding]:
        if content is None:
            return  # a missing one is told with the next leaf: the newest may not be written yet
        try:
            checkpoint = signed_checkpoint(content, self.origin, self._keys)
        except NoteInvalid as error:
            yield AnchorFinding(checkpoint_path(size), f"the checkpoint is not valid: {error}")
        else:
            self.origin = checkpoint.origin
            if checkpoint.size != size or checkpoint.root != self._log.root():
                yield AnchorFinding(checkpoint_path(size), "the signed root is not that of the leaves")
        self.signed_size = size  # what is wrong is told, and not told again as missing

    def _compare_heads(self, content: bytes | None, leaf: Leaf, final: Sequence[str]) -> Iterator[AnchorFinding]:
        path = heads_path(leaf.n)
        if content is None:
            yield AnchorFinding(path, f"the heads of leaf {leaf.n} are missing")
            return
        try:
            heads = parse_heads(content)
        except AnchorFileInvalid as error:
            yield AnchorFinding(path, f"the heads of leaf {leaf.n} cannot be read: {error}")
            return
        if heads_root(heads) != leaf.heads_root or len(heads) != leaf.count:
            yield AnchorFinding(path, f"the heads are not those of leaf {leaf.n}")
            return
        if leaf.final != final_groups(heads, final):
            yield AnchorFinding(leaf_path(leaf.n), f"leaf {leaf.n} does not name the groups that are final")
        for chain, fault in head_faults(self._heads, heads, final):
            yield AnchorFinding(path, f"leaf {leaf.n}: the chain {fault}", chain)
        self._take(heads, leaf)

    def _take(self, heads: Sequence[ChainHead], leaf: Leaf) -> None:
        """Keep the heads for the comparison with the next leaf, and hand on those that are new."""
        unread = [head.chain for head in heads if head.seq == UNREAD]
        if unread:
            self.notes.append(f"leaf {leaf.n} {leaf.at}: these chains could not be read: {', '.join(unread)}")
        new = [head for head in heads if head.seq != UNREAD and self._heads.get(head.chain) != head]
        if self._on_heads and new:
            self._on_heads(new)
        known = {chain: self._heads[chain] for chain in unread if chain in self._heads}
        self._heads = {**known, **{head.chain: head for head in heads if head.seq != UNREAD}}


def moment_of(text: str) -> datetime | None:
    """Return the moment that a leaf states; `None` if it is none."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None
