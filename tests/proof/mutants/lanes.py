"""Faults in the lanes of hot tenants, and in the room that moves between them."""

from __future__ import annotations

from tests.proof.mutation.mutant import mutants_of
from tests.proof.mutation.operators import (
    argument,
    called,
    condition,
    negated,
    replaced,
    without_operand,
)

_HOT = "shared.adapters.tables.hot_lanes:HotLanes"
_READER = "shared.adapters.tables.lane_reader:LaneReader"
_TESTS = "contract/ledger/test_lanes.py"

MUTANTS = [
    *mutants_of(f"{_HOT}.recover", _TESTS, {"a transfer that never arrived is not completed": negated("arrived")}),
    *mutants_of(
        f"{_HOT}.align_limits",
        _TESTS,
        {
            "a lowered limit takes nothing back from the lanes": negated("shortage"),
            "lanes keep a limit of their own": condition("own", False),
        },
    ),
    *mutants_of(
        f"{_READER}._opening",
        _TESTS,
        {
            "a lane opens with the tenant's limit": called("lane_limit", "vault.limit"),
            "a lane opens in a closing month": replaced("vault.state", "LaneState.OPEN", of=2, at=2),
        },
    ),
    *mutants_of(
        "shared.adapters.tables.ledger:TableLedger.reserve",
        _TESTS,
        {"what lanes hold is lost when a tenant is no longer hot": condition("committer.balance", True)},
    ),
    *mutants_of(
        "shared.domain.ledger.lanes:_most",
        "unit/ledger/test_lanes.py",
        {"a donor gives more than it has": replaced("has.tokens", "_ + 1")},
    ),
    *mutants_of(
        "shared.domain.ledger.balance:Balance.available_tokens",
        "unit/ledger/test_lanes.py",
        {"what is available in a lane ignores its reservations": without_operand("self.reserved.tokens")},
    ),
    *mutants_of(
        "shared.domain.rate_limit:Arrivals.admit",
        _TESTS,
        {"each lane has the whole rate limit": argument("_arrival", 1, "1", of=2, at=1)},
    ),
]
