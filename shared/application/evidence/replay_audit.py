"""Verify a month's audit log from the lines of a file, one entry after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from shared.application.evidence.audit_lines import PRICES, canonical_object_of, object_of
from shared.application.ledger.findings import Finding, NotChecked
from shared.application.ledger.lane_books import StringSet
from shared.application.ports.anchors import DatedHead, DatedHeads
from shared.domain.audit.audit_chain import audit_genesis
from shared.domain.audit.hash_chain import HMAC, ChainVerifier, Sealed
from shared.domain.audit.key_ends import KeyEnds

FORMAT: Final = "tallygate-audit-1"
CHAINED: Final = "I18"
ANCHORED: Final = "I2"
TABLE: Final = "auditlog"
_HEAD: Final = {"format", "period", "seq", "head", "deleted"}
_TABLES_OF_TENANTS: Final = ("tenants", "credentials")
_END: Final = DatedHead(seq=1 << 62, head="", leaf=0, at="")


class Digest(Protocol):
    """A hash of bytes that come one after the other."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""
        ...


def is_configuration(text: str, tenant: str | None = None) -> bool:
    """Tell whether an event changed a document, and one that concerns the tenant if there is one."""
    place = object_of(text.encode()).get("place")
    table, _, rest = str(place or "").partition("/")
    if tenant is None or table == PRICES:
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
        tell: Callable[[str], None],
        key_ends: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Take the heads of a signed log; `None` if there is none.

        `history` gets the history of the configuration, and `tell` is called with the text of each event. `key_ends`
        has the timestamps from which versions of the chain key must not sign any more.
        """
        self._key_ends = KeyEnds(key_ends)
        self.period = period
        self._verifier = verifier
        self._ids = new_set()
        self._history = history
        self._tell = tell
        chain = f"audit/{period}"
        self._anchors = heads.of(chain) if heads else iter(())
        self._next = next(self._anchors, _END)
        newest = heads.last(chain) if heads else None
        self._newest = newest.seq if newest else 0
        self.seq = 0
        self.deleted = 0
        """The number of the last entry that retention has deleted."""
        self._head = self._deleted_head = audit_genesis(period)
        self._is_anchored_wrongly = False
        self.manifests: list[tuple[str, str]] = []
        """The periods whose statements were written, and the SHA-256 of the manifest of each."""
        self.deletions: dict[tuple[str, int, str], int] = {}
        """Month, last number and last hash of what retention deleted, as events tell it, and the numbers of these."""

    def __call__(self, lines: Iterable[bytes]) -> Iterator[Finding]:
        """Read the file. Yields what is wrong."""
        stated: dict[str, Any] = {}
        for number, line in enumerate(lines):
            row, is_canonical = canonical_object_of(line)
            if not is_canonical:
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

    @property
    def end_of_deleted(self) -> tuple[str, int, str]:
        """Month, number and hash of the last event that was deleted, as the file states them."""
        return self.period, self.deleted, self._deleted_head

    @property
    def anchored(self) -> int:
        """The number of the events in the file that the log of heads has."""
        return max(min(self._newest, self.seq) - self.deleted, 0)

    def not_checked(self) -> Iterator[NotChecked]:
        """Yield what the log of heads cannot prove."""
        if after := self.seq - max(self._newest, self.deleted):
            reason = f"the last {after} events of the audit log of {self.period} are in no leaf yet"
            yield NotChecked(invariant=ANCHORED, reason=reason, is_open=True)

    def _begin(self, row: dict[str, Any]) -> Iterator[Finding]:
        if row.get("format") != FORMAT or row.get("period") != self.period or row.keys() != _HEAD:
            yield self._at("", CHAINED, f"the file is not an audit log of {self.period}")
        deleted = row.get("deleted")
        match deleted:
            case {"seq": int(seq), "head": str(head), **rest} if seq > 0 and not rest:
                self.seq = self.deleted = seq
                self._head = self._deleted_head = head
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
        if link.method == HMAC:
            yield self._at(key, CHAINED, f"entry {self.seq} states no method, and no version wrote such an event")
        elif link.fault:
            yield self._at(key, CHAINED, f"entry {self.seq} {link.fault}", link.property_name)
        if fault := self._key_ends.fault(link.key_version, str(row.get("event", ""))):
            yield self._at(key, CHAINED, f"entry {self.seq} {fault}", "key_version")
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
        self._tell(text)
        if is_configuration(text):
            self._history.update(text.encode() + b"\n")
        match object_of(text.encode()):
            case {"action": "statements.write", "target": str(period), "after": {"manifest_sha256": str(digest)}}:
                self.manifests.append((period, digest))
            case {
                "action": "audit.delete",
                "target": str(period),
                "after": {"deleted_seq": int(seq), "deleted_head": str(head)},
            }:
                self.deletions[period, seq, head] = self.seq

    def _at(self, row: str, invariant: str, message: str, property_name: str = "") -> Finding:
        return Finding(
            invariant=invariant,
            tenant_id="",
            message=f"audit log of {self.period}: {message}",
            table=TABLE,
            partition=self.period,
            row=row,
            property_name=property_name,
        )
