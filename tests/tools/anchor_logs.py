"""Logs of heads that a test writes by itself, with a real key, to be verified and tampered with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec

from shared.adapters import ecdsa_keys
from shared.application.audit.verify_anchors import AnchorFinding, AnchorReplay
from shared.domain.audit.anchor_files import (
    AnchorFiles,
    ChainHead,
    Leaf,
    checkpoint_path,
    final_groups,
    format_heads,
    heads_path,
    heads_root,
    leaf_path,
)
from shared.domain.audit.checkpoint import Checkpoint, format_checkpoint
from shared.domain.audit.merkle import tree_root
from shared.domain.audit.signed_note import NoteSignature, PublicKey, format_note, key_id
from shared.domain.identifiers import timestamp

ORIGIN = "tallygate/books"
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
EVERY = timedelta(minutes=5)


@cache
def signing_key(name: str = "first") -> ec.EllipticCurvePrivateKey:
    """Return a key of a name, the same at each call."""
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(name.encode()).digest()) >> 1, ec.SECP256R1())


def trusted(*names: str) -> list[PublicKey]:
    return [ecdsa_keys.of_key(signing_key(name).public_key()) for name in names or ("first",)]


def head(lane: str, seq: int, *, closed: bool = False, period: str = "2026-11", branch: str = "") -> ChainHead:
    """Return a head. `branch` makes the hashes of another history."""
    text = f"{period}/{lane}/{seq}{branch}"
    chain = f"ledger/{period}/{lane}"
    return ChainHead(chain=chain, seq=seq, head=hashlib.sha256(text.encode()).hexdigest(), is_closed=closed)


def unread(lane: str) -> ChainHead:
    return replace(head(lane, -1), head="")


@dataclass(slots=True)
class WrittenLog:
    """The files of a log by path, and the leaves in order."""

    files: dict[str, bytes] = field(default_factory=dict)
    leaves: list[Leaf] = field(default_factory=list)
    keys: tuple[str, ...] = ("first",)
    origin: str = ORIGIN

    def write(self, *heads: ChainHead, at: datetime | None = None) -> None:
        """Append a leaf, five minutes after the last one, and sign it."""
        n, ordered = len(self.leaves), sorted(heads, key=lambda each: each.chain)
        moment = START + n * EVERY if at is None else at
        self.leaves.append(
            Leaf(
                n=n,
                at=timestamp(moment),
                period=f"{moment:%Y-%m}",
                count=len(ordered),
                heads_root=heads_root(ordered),
                final=final_groups(ordered, self.leaves[-1].final if self.leaves else ()),
            )
        )
        self.files[heads_path(n)] = format_heads(ordered)
        self.write_leaf(n, self.leaves[n])

    def write_leaf(self, n: int, leaf: Leaf) -> None:
        """Write a leaf, and sign the log up to it."""
        self.leaves[n] = leaf
        self.files[leaf_path(n)] = leaf.to_bytes()
        self.files[checkpoint_path(n + 1)] = self.checkpoint(n + 1)

    def checkpoint(self, size: int) -> bytes:
        """Sign the first leaves as they are now."""
        root = tree_root(leaf.to_bytes() for leaf in self.leaves[:size])
        text = format_checkpoint(Checkpoint(self.origin, size, root))
        signatures = []
        for name in self.keys:
            key = signing_key(name)
            known = key_id(self.origin, ecdsa_keys.of_key(key.public_key()).encoded)
            signatures.append(NoteSignature(known, ecdsa_keys.sign(key, text.encode())))
        return format_note(text, signatures).encode()

    def of(self, n: int) -> AnchorFiles:
        paths = leaf_path(n), heads_path(n), checkpoint_path(n + 1)
        leaf, heads, checkpoint = (self.files.get(path) for path in paths)
        return AnchorFiles(n=n, leaf=leaf, heads=heads, checkpoint=checkpoint)

    def replayed(
        self, *, keys: Sequence[PublicKey] | None = None, kept: Iterable[bytes] = (), origin: str = ORIGIN
    ) -> tuple[AnchorReplay, list[AnchorFinding]]:
        """Verify the log. Returns the replay, and all findings."""
        replay = AnchorReplay(trusted() if keys is None else keys, origin=origin, kept=kept)
        found = [*replay.begin()]
        for n in range(len(self.leaves)):
            found += replay.add(self.of(n))
        return replay, [*found, *replay.finish()]


def messages(found: Iterable[AnchorFinding]) -> str:
    return "\n".join(f"{each.path} {each.chain}: {each.message}" for each in found)
