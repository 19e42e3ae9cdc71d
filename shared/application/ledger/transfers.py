"""Match the two sides of each transfer between a tenant's lanes."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.application.ledger.findings import Finding, finding_at
from shared.application.ports.books import Place
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import EntryKind, LedgerEntry
from shared.domain.values import record


@record
class _Side:
    """One side of a transfer: an entry, its lane, and the place of its row."""

    lane: Lane
    entry: LedgerEntry
    place: Place


@dataclass(slots=True)
class Transfers:
    """The transfers of one tenant of which only one side was read so far, by transfer id."""

    sent: dict[str, _Side] = field(default_factory=dict)
    received: dict[str, _Side] = field(default_factory=dict)
    violations: list[Finding] = field(default_factory=list)

    def add(self, lane: Lane, entry: LedgerEntry, place: Place) -> None:
        """Add one side of a transfer. Compares both sides as soon as both are read."""
        xid = entry.reference.partition("/")[2]
        side = _Side(lane=lane, entry=entry, place=place)
        same_side, other_side = self.sent, self.received
        if entry.kind is EntryKind.TRANSFER_IN:
            same_side, other_side = other_side, same_side
        if xid in same_side:
            self._violate(side, f"entry {entry.seq} of lane {lane.number} repeats transfer {xid}")
        elif (other := other_side.pop(xid, None)) is None:
            same_side[xid] = side
        elif not _agree(side, other):
            self._violate(side, f"the two sides of transfer {xid} differ")

    def all_violations(self, *, is_closed: bool) -> list[Finding]:
        """Return the violations. A transfer in transit is a violation only if the tenant's lanes are closed."""
        found = [*self.violations]
        for xid, side in self.received.items():
            message = f"transfer {xid} came into lane {side.lane.number} and went out of none"
            found.append(finding_at(side.place, "I8", message))
        for xid, side in self.sent.items() if is_closed else ():
            message = f"transfer {xid} went out of lane {side.lane.number} and never arrived"
            found.append(finding_at(side.place, "I8", message))
        return found

    def _violate(self, side: _Side, message: str) -> None:
        self.violations.append(finding_at(side.place, "I8", message))


def _agree(one: _Side, other: _Side) -> bool:
    """Tell whether two sides have opposite amounts and name each other's lane."""
    assert one.entry.transferred is not None
    assert other.entry.transferred is not None
    return (
        one.entry.transferred + other.entry.transferred == Amount()
        and one.entry.reference.partition("/")[0] == f"{other.lane.number:02}"
        and other.entry.reference.partition("/")[0] == f"{one.lane.number:02}"
    )
