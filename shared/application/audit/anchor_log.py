"""The log of heads: read back, verified and extended, by any number of processes at once.

The newest checkpoint and the subtrees under it are remembered outside of the log's container. So a run reads few files,
and notices if files of the log are gone.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from shared.application.audit.verify_anchors import signed_checkpoint
from shared.application.ports.anchors import AnchorStore, CheckpointSigner
from shared.application.ports.clock import Clock
from shared.application.ports.jobs import SweepCursors
from shared.domain.audit.anchor_files import (
    CHECKPOINTS,
    LEAVES,
    AnchorFileInvalid,
    ChainHead,
    Leaf,
    checkpoint_path,
    final_groups,
    format_heads,
    heads_path,
    heads_root,
    leaf_path,
    parse_heads,
    parse_leaf,
)
from shared.domain.audit.checkpoint import Checkpoint, format_checkpoint
from shared.domain.audit.merkle import CompactRange
from shared.domain.audit.signed_note import NoteInvalid, NoteSignature, PublicKey, format_note, key_id, parse_note
from shared.domain.audit.subtrees import SUBTREES_EVERY, format_subtrees, subtrees_path
from shared.domain.errors import GatewayError
from shared.domain.identifiers import BillingPeriod, timestamp

logger = logging.getLogger("tallygate")
JOB: Final = "anchor_audit"
REMEMBER_EVERY: Final = 100
"""Leaves that are read between two notes of how far the reading is."""


class AnchorsDamaged(GatewayError):
    """Files of the log are missing, or are not those that the gateway wrote. So nothing is signed."""


class AnchorsBehind(GatewayError):
    """The log is longer than one run can read. The next run continues."""


@dataclass(slots=True, kw_only=True)
class LogState:
    """The log up to its newest checkpoint."""

    log: CompactRange = field(default_factory=CompactRange)
    before: CompactRange = field(default_factory=CompactRange)
    """The log without its last leaf."""
    last: Leaf | None = None
    checkpoint: bytes = b""
    """The signed note of the newest checkpoint."""

    @property
    def final(self) -> Sequence[str]:
        """The groups whose chains are left out from now on."""
        return self.last.final if self.last else ()

    def append(self, leaf: Leaf, content: bytes) -> None:
        """Add a leaf, whose bytes are given."""
        self.before = self.log.copy()
        self.log.append(content)
        self.last = leaf


class AnchorLog:
    """Extends the log. Every file is create-only: of two processes one writes it, and the other goes on with that.

    - A leaf is written before it is signed, so that a process which dies makes no second leaf of its number.
    - Only a root that extends the last checkpoint is signed.
    """

    def __init__(
        self,
        store: AnchorStore,
        signer: CheckpointSigner,
        memory: SweepCursors,
        clock: Clock,
        origin: str,
        slice_seconds: float,
    ) -> None:
        self.store = store
        self._signer = signer
        self._memory = memory
        self._clock = clock
        self._origin = origin
        self._slice_seconds = slice_seconds
        self._largest = 0

    async def resume(self) -> LogState:
        """Read the log's end and verify it. A leaf that another run left unsigned is signed.

        Raises `AnchorsDamaged`, `AnchorsBehind`, `StorageUnavailable`, and `SigningUnavailable`.
        """
        largest, keys = self._largest, await self._signer.public_keys()
        state = await self._remembered(keys)
        if state is None:
            await self._require_all_names()
            state = LogState()
        await self._catch_up(state, keys)
        if state.log.size < largest:
            raise AnchorsDamaged(f"the log had {largest} leaves, and now has only {state.log.size}")
        return state

    async def append(self, state: LogState, heads: Sequence[ChainHead]) -> Sequence[ChainHead]:
        """Append a leaf with some heads, and sign it. Returns the heads: those of another process if it was faster.

        Raises the same as `resume`.
        """
        keys, n = await self._signer.public_keys(), state.log.size
        if not await self.store.create(heads_path(n), format_heads(heads)):
            heads = await self._heads(n)
        now = self._clock.now()
        leaf = Leaf(
            n=n,
            at=timestamp(now),
            period=str(BillingPeriod.containing(now)),
            count=len(heads),
            heads_root=heads_root(heads),
            final=final_groups(heads, state.final),
        )
        content = leaf.to_bytes()
        if not await self.store.create(leaf_path(n), content):
            content = await self._required(leaf_path(n))
        await self._extend(state, content, None, keys)
        await self._remember(state)
        return heads

    async def heads(self, leaf: Leaf) -> Sequence[ChainHead]:
        """Return the heads of a leaf. Raises `AnchorsDamaged` if they are gone or others."""
        heads = await self._heads(leaf.n)
        if heads_root(heads) != leaf.heads_root or len(heads) != leaf.count:
            raise AnchorsDamaged(f"{heads_path(leaf.n)} has not the heads of leaf {leaf.n}")
        return heads

    async def _remembered(self, keys: Sequence[PublicKey]) -> LogState | None:
        """Return the log as it was remembered; `None` if nothing is, or nothing that its checkpoint proves.

        What was signed cannot be forged by whoever can write the memory. So a checkpoint that the container lacks was
        taken from there.
        """
        text = await self._memory.get(JOB)
        if not text:
            return None
        try:
            kept = json.loads(text)
            note, subtrees = str(kept["checkpoint"]), [base64.b64decode(each) for each in kept["subtrees"]]
            checkpoint = signed_checkpoint(note.encode(), self._origin, keys)
            before = CompactRange(checkpoint.size - 1, subtrees)
        except (ValueError, TypeError, LookupError) as error:
            logger.warning("the end of the log was remembered wrongly, so that all of it is read: %s", error)
            return None
        stored = await self._required(checkpoint_path(checkpoint.size))
        if _text_of(stored) != format_checkpoint(checkpoint):
            raise AnchorsDamaged(f"{checkpoint_path(checkpoint.size)} is not the checkpoint that was signed")
        content = await self._required(leaf_path(before.size))
        state = LogState(log=before, checkpoint=stored)
        state.append(_leaf(content, before.size), content)
        return state if state.log.root() == checkpoint.root else None

    async def _remember(self, state: LogState) -> None:
        subtrees = [base64.b64encode(each).decode() for each in state.before.hashes]
        await self._memory.put(JOB, json.dumps({"checkpoint": state.checkpoint.decode(), "subtrees": subtrees}))
        self._largest = max(self._largest, state.log.size)

    async def _require_all_names(self) -> None:
        """Raise `AnchorsDamaged` if a checkpoint or a leaf is missing between others, before all is read anew."""
        sizes = await self._numbered(CHECKPOINTS, checkpoint_path, 1)
        leaves = await self._numbered(LEAVES, leaf_path, 0)
        if leaves < sizes:
            raise AnchorsDamaged(f"{leaf_path(leaves)} is missing, and {checkpoint_path(sizes)} exists")

    async def _numbered(self, folder: str, path: Callable[[int], str], first: int) -> int:
        """Count the files of a folder, which are numbered without a gap."""
        count = 0
        async for name in self.store.names(folder):
            if name != path(first + count):
                raise AnchorsDamaged(f"{path(first + count)} is missing, and {name} exists")
            count += 1
        return count

    async def _catch_up(self, state: LogState, keys: Sequence[PublicKey]) -> None:
        """Read the leaves after the state, and sign one that is not signed yet."""
        ends, begun = self._clock.monotonic() + self._slice_seconds, state.log.size
        while (content := await self._next_leaf(state.log.size)) is not None:
            await self._extend(state, content, await self.store.read(checkpoint_path(state.log.size + 1)), keys)
            if self._clock.monotonic() > ends:
                await self._remember(state)
                raise AnchorsBehind(f"the log was read up to leaf {state.log.size - 1}; the next run continues")
            if state.log.size % REMEMBER_EVERY == 0:
                await self._remember(state)
        if state.log.size > begun:
            await self._remember(state)

    async def _next_leaf(self, n: int) -> bytes | None:
        """Return leaf `n`; `None` if the log ends before it. Raises `AnchorsDamaged` if only its checkpoint exists."""
        content = await self.store.read(leaf_path(n))
        if content is None and await self.store.read(checkpoint_path(n + 1)) is not None:
            content = await self.store.read(leaf_path(n))  # another process has written both meanwhile
            if content is None:
                raise AnchorsDamaged(f"{leaf_path(n)} is missing, and its checkpoint exists")
        return content

    async def _extend(self, state: LogState, content: bytes, note: bytes | None, keys: Sequence[PublicKey]) -> None:
        """Add a leaf to the state, and sign it if `note`, its checkpoint, does not exist."""
        leaf = _leaf(content, state.log.size)
        if note is None and final_groups(await self.heads(leaf), state.final) != leaf.final:
            raise AnchorsDamaged(f"{leaf_path(leaf.n)} does not name the groups that are final")
        state.append(leaf, content)
        size = state.log.size
        checkpoint, path = Checkpoint(self._origin, size, state.log.root()), checkpoint_path(size)
        if note is None:
            note = await self._sign(format_checkpoint(checkpoint))
            if not await self.store.create(path, note):
                note = await self._required(path)
        try:
            signed = signed_checkpoint(note, self._origin, keys)
        except NoteInvalid as error:
            raise AnchorsDamaged(f"{path} is not valid: {error}") from error
        if signed != checkpoint:
            raise AnchorsDamaged(f"{path} has another root than the leaves 0 to {leaf.n}")
        state.checkpoint = note
        if size % SUBTREES_EVERY == 0:
            await self.store.create(subtrees_path(size), format_subtrees(state.log))

    async def _sign(self, text: str) -> bytes:
        made = await self._signer.sign(text.encode())
        named = [NoteSignature(key_id(self._origin, each.key.encoded), each.signature) for each in made]
        return format_note(text, named).encode()

    async def _heads(self, n: int) -> Sequence[ChainHead]:
        try:
            return parse_heads(await self._required(heads_path(n)))
        except AnchorFileInvalid as error:
            raise AnchorsDamaged(f"{heads_path(n)} cannot be read: {error}") from error

    async def _required(self, path: str) -> bytes:
        content = await self.store.read(path)
        if content is None:
            raise AnchorsDamaged(f"{path} is missing")
        return content


def _leaf(content: bytes, n: int) -> Leaf:
    """Read a leaf. Raises `AnchorsDamaged` unless it is the leaf `n`."""
    try:
        leaf = parse_leaf(content)
    except AnchorFileInvalid as error:
        raise AnchorsDamaged(f"{leaf_path(n)} cannot be read: {error}") from error
    if leaf.n != n:
        raise AnchorsDamaged(f"{leaf_path(n)} is leaf {leaf.n}")
    return leaf


def _text_of(note: bytes) -> str:
    try:
        return parse_note(note).text
    except NoteInvalid:
        return ""
