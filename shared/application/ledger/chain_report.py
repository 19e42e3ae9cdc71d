"""The methods and key versions by which entries are chained, and the entries that no known key proves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from shared.application.ledger.findings import NotChecked
from shared.domain.audit.hash_chain import HMAC, SHA256, UNKNOWN, Link
from shared.domain.values import record

_TIMESTAMP: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
METHOD_NAMES: Final = {HMAC: "HMAC-SHA256", SHA256: "SHA-256 with a mac", UNKNOWN: "an unknown method"}


@record
class ChainedEntries:
    """The entries that were chained by one method and one version of the chain key."""

    method: str
    key_version: str
    is_key_known: bool
    is_open: bool
    """The key is missing, and no anchor proves them either."""
    entries: int
    last: str
    """The timestamp of the last of them."""


_Key: TypeAlias = tuple[str, str, bool, bool]
"""Method, key version, whether the key is known, and whether the entries are open."""


@dataclass(slots=True, kw_only=True)
class ChainReport:
    """Counts entries by method and key version, in one lane or in many."""

    anchored: int = 0
    """The entries that an anchored head binds: it is theirs, or all hashes from there to it could be computed."""
    _bound: int = 0
    """The entries that the next anchored head binds."""
    _counts: dict[_Key, tuple[int, str]] = field(default_factory=dict)
    _waiting: dict[_Key, tuple[int, str]] = field(default_factory=dict)
    """Entries whose macs nobody could check. The next anchored head proves them, if the chain up to it is checked."""

    def add(self, link: Link, timestamp: str, *, is_anchored: bool = False) -> None:
        """Count the next entry of a lane. `is_anchored` tells that a signed log has its hash."""
        said = timestamp if _TIMESTAMP.fullmatch(timestamp) else ""  # no other text of whoever writes rows is reported
        is_open = not link.is_key_known
        key = link.method, link.key_version, link.is_key_known, is_open
        self._bound += 1
        if link.fault or (is_open and link.method == HMAC):
            # Its hash may be any text, so it does not bind the entries before it: later anchors do not prove them.
            self._settle(is_open=True)
            self._bound = 0
        _count(self._waiting if is_open and link.method == SHA256 and not link.fault else self._counts, key, 1, said)
        if is_anchored:
            self._settle(is_open=False)
            self.anchored += self._bound
            self._bound = 0

    def merge(self, other: ChainReport) -> None:
        """Count the entries of another report, too."""
        self.anchored += other.anchored
        for counts in (other._counts, other._waiting):
            for key, (entries, last) in counts.items():
                _count(self._counts, key, entries, last)

    def rows(self) -> Sequence[ChainedEntries]:
        """Return the counts, in the order of methods and key versions."""
        whole = ChainReport()
        whole.merge(self)
        return [
            ChainedEntries(
                method=method,
                key_version=version,
                is_key_known=is_known,
                is_open=is_open,
                entries=entries,
                last=last,
            )
            for (method, version, is_known, is_open), (entries, last) in sorted(whole._counts.items())
        ]

    def unproven(self) -> Iterator[NotChecked]:
        """Yield the entries whose key is missing. Unless anchors prove them, nobody can say that the chain holds."""
        for row in self.rows():
            if not row.is_key_known:
                yield NotChecked(invariant="I2", reason=reason_of(row), is_open=row.is_open)

    def _settle(self, *, is_open: bool) -> None:
        for (method, version, is_known, _), (entries, last) in self._waiting.items():
            _count(self._counts, (method, version, is_known, is_open), entries, last)
        self._waiting.clear()


def _count(counts: dict[_Key, tuple[int, str]], key: _Key, entries: int, timestamp: str) -> None:
    counted, last = counts.get(key, (0, ""))
    counts[key] = counted + entries, max(last, timestamp)


def reason_of(row: ChainedEntries) -> str:
    """Tell what a missing key leaves unproved."""
    version, entries = row.key_version, f"{row.entries} entries" if row.entries > 1 else "1 entry"
    if row.method == HMAC:
        return f"{entries} cannot be proved without key version {version}, which is missing"
    told = f"mac not checked of {entries}: key version {version} is not known"
    return told if row.is_open else f"{told}; without it a mac is no evidence, but anchors prove these entries"
