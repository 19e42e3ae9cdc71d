"""Faults in expiry, closing, adjustments after the close, and rollups."""

from __future__ import annotations

from tests.proof.mutation.mutant import mutants_of
from tests.proof.mutation.operators import (
    argument,
    condition,
    flipped,
    negated,
    replaced,
    returns,
    without_call,
    without_operand,
)

_PERIODS = "unit/ledger/test_periods.py"
_ROLLUPS = "contract/ledger/test_rollups.py"

MUTANTS = [
    *mutants_of(
        "shared.application.ledger.expire_reservations:ExpireReservations.lane",
        _PERIODS,
        {"reservations expire before their deadline and not after it": flipped("held.deadline")},
    ),
    *mutants_of(
        "shared.application.ledger.expire_reservations:_charged",
        _PERIODS,
        {"expiry by input charges the output too": condition("ExpiryPolicy.INPUT", False)},
    ),
    *mutants_of(
        "shared.application.ledger.close_period:ClosePeriod.due_from",
        _PERIODS,
        {"a period closes before its grace is over": returns("period.end")},
    ),
    *mutants_of(
        "shared.adapters.tables.ledger:TableLedger._adjust",
        "contract/ledger/test_ledger.py",
        {"a settlement after the close is dropped": negated("marker")},
    ),
    *mutants_of(
        "shared.adapters.tables.ledger:TableLedger.close",
        "contract/ledger/test_lanes.py",
        {"a period closes over transfers that have not arrived": without_call("recover")},
    ),
    *mutants_of(
        "shared.application.ledger.roll_up_usage:RollUpUsage._next",
        _ROLLUPS,
        {
            "the watermark of rollups stays one entry behind": returns("(max(since.seq + 1, seq - 1), sums)"),
            "a rollup skips an entry": replaced("entry.seq", "_ + 1"),
        },
    ),
    *mutants_of(
        "shared.adapters.tables.rollups:TableRollups.advance",
        _ROLLUPS,
        {
            "a rollup overwrites a watermark that has moved": argument(
                "Merge", 2, "(await self.watermark(lane)).etag", of=2, at=1
            ),
            "a rollup forgets its earlier sum": without_operand("_readable"),
        },
    ),
]
