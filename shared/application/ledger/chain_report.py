"""The methods and key versions by which entries are chained, and the entries that no known key proves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

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
    entries: int
    last: str
    """The timestamp of the last of them."""


@dataclass(slots=True)
class ChainReport:
    """Counts entries by method and key version, in one lane or in many."""

    _counts: dict[tuple[str, str, bool], tuple[int, str]] = field(default_factory=dict)

    def add(self, link: Link, timestamp: str) -> None:
        """Count one entry."""
        said = timestamp if _TIMESTAMP.fullmatch(timestamp) else ""  # no other text of whoever writes rows is reported
        self._count((link.method, link.key_version, link.is_key_known), 1, said)

    def merge(self, other: ChainReport) -> None:
        """Count the entries of another report, too."""
        for key, (entries, last) in other._counts.items():
            self._count(key, entries, last)

    def rows(self) -> Sequence[ChainedEntries]:
        """Return the counts, in the order of methods and key versions."""
        return [
            ChainedEntries(method=method, key_version=version, is_key_known=is_known, entries=entries, last=last)
            for (method, version, is_known), (entries, last) in sorted(self._counts.items())
        ]

    def unproven(self) -> Iterator[NotChecked]:
        """Yield the entries whose key is missing. Nobody can say that the chain holds."""
        for row in self.rows():
            if not row.is_key_known:
                yield NotChecked(invariant="I2", reason=reason_of(row), is_open=True)

    def _count(self, key: tuple[str, str, bool], entries: int, timestamp: str) -> None:
        counted, last = self._counts.get(key, (0, ""))
        self._counts[key] = counted + entries, max(last, timestamp)


def reason_of(row: ChainedEntries) -> str:
    """Tell what a missing key leaves unproved."""
    version, entries = row.key_version, f"{row.entries} entries" if row.entries > 1 else "1 entry"
    if row.method == HMAC:
        return f"{entries} cannot be proved without key version {version}, which is missing"
    return f"mac not checked of {entries}: key version {version} is not known"
