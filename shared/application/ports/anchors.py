"""Ports of anchors: the log's files, the keys that sign it, the chains whose heads it holds, and its witnesses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence, Set
from typing import Protocol

from shared.domain.audit.anchor_files import ChainHead
from shared.domain.audit.signed_note import PublicKey
from shared.domain.errors import StorageUnavailable
from shared.domain.values import record, value


class SigningUnavailable(StorageUnavailable):
    """The keys that sign checkpoints cannot be used now."""


class AnchorStore(Protocol):
    """The files of the log. A file that exists is never changed. All methods raise `StorageUnavailable`."""

    async def create(self, path: str, content: bytes) -> bool:
        """Create a file, if it does not exist. Atomic. Returns whether this call created it.

        After an answer that was lost, `False` can mean the same file of this very call.
        """
        ...

    async def read(self, path: str) -> bytes | None:
        """Return the content of a file; `None` if it does not exist."""
        ...

    def names(self, folder: str) -> AsyncIterator[str]:
        """Yield the name of each file in a folder, ascending."""
        ...


@value
class KeySignature:
    """A signature, and the key that made it."""

    key: PublicKey
    signature: bytes
    """ECDSA over P-256 with SHA-256, in DER."""


class CheckpointSigner(Protocol):
    """The keys of the log. All methods raise `SigningUnavailable`."""

    async def sign(self, message: bytes) -> Sequence[KeySignature]:
        """Sign a message with each key that signs now: one, or two while a new key replaces an old one."""
        ...

    async def public_keys(self) -> Sequence[PublicKey]:
        """Return the keys that sign, the newest first, and then those that signed earlier."""
        ...


class HeadSource(Protocol):
    """Hash chains of one kind."""

    def heads(self, final: Set[str]) -> AsyncIterator[ChainHead]:
        """Yield the head of each chain, but of those whose group is in `final`.

        - A chain that cannot be read is yielded with the number -1 and without a hash. `SweepFailed` at the end names
          each such chain with its cause.
        - Raises `StorageUnavailable` if chains cannot be listed. The heads are then not complete.
        """
        ...


class Witness(Protocol):
    """A place outside of the log's reach, where copies of checkpoints are kept."""

    @property
    def name(self) -> str:
        """The name in reports."""
        ...

    async def tell(self, size: int, checkpoint: bytes, log: AnchorStore) -> None:
        """Hand over the newest checkpoint, and what earlier failures left out. Idempotent.

        Raises `StorageUnavailable` if the witness does not take it in time.
        """
        ...


class AnchoredHashes(Protocol):
    """The hashes of the anchored entries of one kind of chains."""

    def of(self, chain: str) -> Mapping[int, str]:
        """Return the hashes of a chain's anchored entries, by number."""
        ...

    def chains(self) -> Set[str]:
        """Return the names of all chains."""
        ...


class AnchoredHeads(AnchoredHashes, Protocol):
    """The heads of one kind of chains in all leaves, which may not fit into memory."""

    def add(self, heads: Iterable[ChainHead]) -> None:
        """Add heads. Harmless for one that was added before."""
        ...


@record
class DatedHead:
    """A head of a chain, and the first leaf that has it."""

    seq: int
    head: str
    leaf: int
    at: str
    """The time of the leaf."""


class DatedHeads(Protocol):
    """The heads of all chains with their leaves, which may not fit into memory."""

    def add(self, heads: Iterable[ChainHead], leaf: int, at: str) -> None:
        """Add heads of a leaf. Harmless for heads that an earlier leaf had."""
        ...

    def of(self, chain: str) -> Iterator[DatedHead]:
        """Yield the heads of a chain, ascending."""
        ...

    def last(self, chain: str) -> DatedHead | None:
        """Return the head of a chain with the highest number; `None` if it was never anchored."""
        ...

    def chains(self, prefix: str) -> Iterator[str]:
        """Yield the names of all chains that begin so, ascending."""
        ...
