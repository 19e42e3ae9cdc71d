"""Read a log of heads from its files, and keep the heads that are signed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from shared.application.audit.verify_anchors import AnchorFinding, AnchorReplay
from shared.application.ports.anchors import DatedHeads
from shared.domain.audit.anchor_files import AnchorFiles, ChainHead
from shared.domain.audit.signed_note import PublicKey
from shared.domain.values import record

MAX_LOG_FINDINGS: Final = 1000


class LogFiles(Protocol):
    """The files of a log in a folder or in a package."""

    @property
    def has_heads(self) -> bool:
        """The files have the heads of all chains, and not only proofs of some."""
        ...

    def leaves(self) -> Iterable[AnchorFiles]:
        """Yield the files of each leaf up to the highest number that any file has. Raises `OSError`."""
        ...


@record
class LogVerified:
    """The result for a log."""

    origin: str
    signed_leaves: int
    """The leaves under the newest checkpoint that is right."""
    first_at: str
    last_at: str
    """The time of the newest signed leaf."""
    final: tuple[str, ...]
    """The groups of chains that were all closed."""
    has_heads: bool
    """The files had the heads of all chains."""
    findings: Sequence[AnchorFinding]
    notes: Sequence[str]
    roots: Mapping[int, bytes]
    """The heads' root of each signed leaf whose heads the files do not have."""
    times: Mapping[int, str]
    """The times of those leaves."""


class ReadLog:
    """Replays a log. Its heads are kept once a checkpoint signs them."""

    def __init__(self, keys: Sequence[PublicKey], heads: DatedHeads, kept: Iterable[bytes] = ()) -> None:
        self._keys = keys
        self._kept = kept
        self._heads = heads
        self._new: list[ChainHead] = []

    def __call__(self, files: LogFiles) -> LogVerified:
        """Read all files. Raises `OSError`."""
        replay = AnchorReplay(self._keys, kept=self._kept, on_heads=self._new.extend, has_heads=files.has_heads)
        findings, roots, times = [*replay.begin()], dict[int, bytes](), dict[int, str]()
        last_at, final = "", tuple[str, ...]()
        waiting: list[tuple[Sequence[ChainHead], int, str]] = []
        for each in files.leaves():
            findings += replay.add(each)
            waiting.append(([*self._new], each.n, replay.last_at))
            self._new.clear()
            if replay.signed_size == replay.size and not replay.is_broken:
                for new in waiting:
                    self._heads.add(*new)
                waiting.clear()
                last_at, final = replay.last_at, replay.final
            if not files.has_heads and not replay.is_broken:
                roots[each.n], times[each.n] = replay.heads_root, replay.last_at
        findings += replay.finish()
        return LogVerified(
            origin=replay.origin,
            signed_leaves=replay.signed_size,
            first_at=replay.first_at,
            last_at=last_at,
            final=final,
            has_heads=files.has_heads,
            findings=findings[:MAX_LOG_FINDINGS],
            notes=replay.notes,
            roots={n: root for n, root in roots.items() if n < replay.signed_size},
            times=times,
        )
