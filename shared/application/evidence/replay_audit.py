"""Verify a month's audit log from the lines of a file, one entry after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

from shared.application.ledger.audited_limits import AuditedLimits
from shared.application.ledger.findings import Finding, NotChecked
from shared.application.ledger.lane_books import StringSet
from shared.application.ports.anchors import DatedHead, DatedHeads
from shared.domain.audit.audit_chain import audit_genesis
from shared.domain.audit.hash_chain import ChainVerifier, Sealed

FORMAT: Final = "tallygate-audit-1"
CHAINED: Final = "I18"
ANCHORED: Final = "I2"
TABLE: Final = "auditlog"
_SHARED_TABLES: Final = ("prices",)
_TABLES_OF_TENANTS: Final = ("tenants", "credentials")
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_END: Final = DatedHead(seq=1 << 62, head="", leaf=0, at="")


class Digest(Protocol):
    """A hash of bytes that come one after the other."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""
        ...


def is_configuration(text: str, tenant: str | None = None) -> bool:
    """Tell whether an event changed a document, and one that concerns the tenant if there is one."""
    place = _object(text.encode()).get("place")
    table, _, rest = str(place or "").partition("/")
    if tenant is None or table in _SHARED_TABLES:
        return bool(table)
    return table in _TABLES_OF_TENANTS and tenant in rest.split("/")


class ReplayAudit:
    """Replays one month. The first line of its file is the head, and each further line an entry with all its fields."""

    def __init__(
        self,
        period: str,
        verifier: ChainVerifier,
        heads: DatedHeads | None,
        new_set: Callable[[], StringSet],
        history: Digest,
        limits: AuditedLimits,
    ) -> None:
        """`heads` are those of a signed log; `None` if there is none.

        `history` gets the history of configuration, and `limits` all events.
        """
        self._period = period
        self._verifier = verifier
        self._ids = new_set()
        self._history = history
        self._limits = limits
        chain = f"audit/{period}"
        self._anchors = heads.of(chain) if heads else iter(())
        self._next = next(self._anchors, _END)
        newest = heads.last(chain) if heads else None
        self._newest = newest.seq if newest else 0
        self.seq = 0
        self.deleted = 0
        """The number of the last entry that retention has deleted."""
        self._head = audit_genesis(period)
        self._is_anchored_wrongly = False
        self.manifests: list[tuple[str, str]] = []
        """The periods whose statements were written, and the SHA-256 of the manifest of each."""

    def __call__(self, lines: Iterable[bytes]) -> Iterator[Finding]:
        """Read the file. Yields what is wrong."""
        stated: dict[str, Any] = {}
        for number, line in enumerate(lines):
            row = _object(line)
            if (encoded := _encode(row).encode(errors="replace")) != line:
                row = _object(encoded)  # halves of surrogate pairs have no bytes
                yield self._at("", CHAINED, f"line {number + 1} of the file is not in its canonical form")
            if number == 0:
                stated = row
                yield from self._begin(row)
            else:
                yield from self._entry(row)
        if (stated.get("seq"), stated.get("head")) != (self.seq, self._head):
            yield self._at("B", CHAINED, f"the log ends with entry {self.seq}, and its head is of {stated.get('seq')}")
        if self._next is not _END and not self._is_anchored_wrongly:
            leaf, at = self._next.leaf, self._next.at
            yield self._at("", ANCHORED, f"the log ends with entry {self.seq}, and leaf {leaf} ({at}) has entry "
                                         f"{self._next.seq}")  # fmt: skip

    def not_checked(self) -> Iterator[NotChecked]:
        """Yield what the file and the log of heads cannot prove."""
        if self.deleted:
            reason = f"the first {self.deleted} events of the audit log of {self._period}: retention has deleted them"
            yield NotChecked(invariant=CHAINED, reason=reason)
        if after := self.seq - max(self._newest, self.deleted):
            reason = f"the last {after} events of the audit log of {self._period} are in no leaf yet"
            yield NotChecked(invariant=ANCHORED, reason=reason, is_open=True)

    def _begin(self, row: dict[str, Any]) -> Iterator[Finding]:
        if row.get("format") != FORMAT or row.get("period") != self._period:
            yield self._at("", CHAINED, f"the file is not an audit log of {self._period}")
        deleted = row.get("deleted")
        match deleted:
            case {"seq": int(seq), "head": str(head)} if seq > 0:
                self.seq = self.deleted = seq
                self._limits.deleted_months.add(self._period)
                self._head = head
                yield from self._compare()
            case _ if deleted != {"seq": 0, "head": self._head}:
                yield self._at("", CHAINED, "the file begins with another genesis")

    def _entry(self, row: dict[str, Any]) -> Iterator[Finding]:
        self.seq += 1
        key = f"E|{self.seq:016}"
        sealed = Sealed.from_fields(row)
        if row.get("seq") != self.seq:
            yield self._at(key, CHAINED, f"entry {row.get('seq')} stands where {self.seq} belongs")
        link = self._verifier.check(self._head, sealed)
        if link.fault:
            yield self._at(key, CHAINED, f"entry {self.seq} {link.fault}", link.property_name)
        event_id = str(row.get("event_id", ""))
        if event_id in self._ids:
            yield self._at(key, CHAINED, f"entry {self.seq} chains an event again")
        self._ids.add(event_id)
        self._head = sealed.hash
        self._note(row)
        yield from self._compare()

    def _compare(self) -> Iterator[Finding]:
        """Compare the newest entry with the heads of its number."""
        while self._next.seq <= self.seq:
            head, self._next = self._next, next(self._anchors, _END)
            if head.seq == self.seq and head.head != self._head and not self._is_anchored_wrongly:
                self._is_anchored_wrongly = True  # later heads differ for the same reason
                message = f"entry {self.seq} has another hash than in leaf {head.leaf} ({head.at})"
                yield self._at(f"E|{self.seq:016}", ANCHORED, message)

    def _note(self, row: dict[str, Any]) -> None:
        text = str(row.get("event", ""))
        self._limits.add(text)
        if is_configuration(text):
            self._history.update(text.encode() + b"\n")
        match _object(text.encode()):
            case {"action": "statements.write", "target": str(period), "after": {"manifest_sha256": str(digest)}}:
                self.manifests.append((period, digest))

    def _at(self, row: str, invariant: str, message: str, property_name: str = "") -> Finding:
        return Finding(
            invariant=invariant,
            tenant_id="",
            message=f"audit log of {self._period}: {message}",
            table=TABLE,
            partition=self._period,
            row=row,
            property_name=property_name,
        )


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
