"""Match the two sides of each transfer between a tenant's lanes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import EntryKind, LedgerEntry

Violation: TypeAlias = tuple[str, str]
"""A violated invariant, for example `I8`, and a message that names the row or sum."""


@dataclass(slots=True)
class Transfers:
    """The transfers of one tenant of which only one side was read so far, by transfer id."""

    sent: dict[str, tuple[Lane, LedgerEntry]] = field(default_factory=dict)
    received: dict[str, tuple[Lane, LedgerEntry]] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    def add(self, lane: Lane, entry: LedgerEntry) -> None:
        """Add one side of a transfer. Compares both sides as soon as both are read."""
        xid = entry.reference.partition("/")[2]
        same_side, other_side = self.sent, self.received
        if entry.kind is EntryKind.TRANSFER_IN:
            same_side, other_side = other_side, same_side
        if xid in same_side:
            self.violations.append(("I8", f"entry {entry.seq} of lane {lane.number} repeats transfer {xid}"))
        elif (other := other_side.pop(xid, None)) is None:
            same_side[xid] = lane, entry
        elif not _agree((lane, entry), other):
            self.violations.append(("I8", f"the two sides of transfer {xid} differ"))

    def all_violations(self, *, is_closed: bool) -> list[Violation]:
        """Return the violations. A transfer in transit is a violation only if the tenant's lanes are closed."""
        not_sent = [("I8", f"transfer {xid} came into lane {lane.number} and went out of none")
                    for xid, (lane, _) in self.received.items()]  # fmt: skip
        lost = [("I8", f"transfer {xid} went out of lane {lane.number} and never arrived")
                for xid, (lane, _) in self.sent.items() if is_closed]  # fmt: skip
        return self.violations + not_sent + lost


def _agree(one: tuple[Lane, LedgerEntry], other: tuple[Lane, LedgerEntry]) -> bool:
    """Tell whether two sides have opposite amounts and name each other's lane."""
    (lane, entry), (other_lane, other_entry) = one, other
    assert entry.transferred is not None
    assert other_entry.transferred is not None
    return (
        entry.transferred + other_entry.transferred == Amount()
        and int(entry.reference.partition("/")[0]) == other_lane.number
        and int(other_entry.reference.partition("/")[0]) == lane.number
    )
