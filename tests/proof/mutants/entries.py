"""Faults in admission, and in what a commit does to a balance and its entries."""

from __future__ import annotations

from tests.proof.mutation.mutant import mutants_of
from tests.proof.mutation.operators import (
    argument,
    assigned,
    bound,
    called,
    condition,
    replaced,
    returns,
    without_call,
    without_operand,
)

_BALANCE = "shared.domain.ledger.balance:Balance"
_PLAN = "shared.domain.ledger.commit_plan:Plan"
_PORT = "contract/ledger/test_ledger.py"
_COMMITTER = "unit/ledger/test_committer.py"
_LANES = "contract/ledger/test_lanes.py"
_CHAIN = "unit/audit/test_hash_chain.py"

MUTANTS = [
    *mutants_of(
        f"{_BALANCE}.refusal",
        "unit/ledger/test_balance.py",
        {
            "admission ignores what is reserved": without_operand("self.reserved", of=2),
            "admission ignores what is used": without_operand("self.used", of=2),
            "admission is off by one": bound("held_tokens", "_ + 1"),
            "admission ignores the budget": bound("held_pusd", "2 * _"),
            "admission ignores the state": condition("self.state", "self.state is LaneState.CLOSED"),
        },
    ),
    *mutants_of(f"{_BALANCE}.copy", _COMMITTER, {"a plan changes the balance that it was planned on": returns("self")}),
    *mutants_of(
        "shared.domain.ledger.commit_plan:plan_commit",
        _COMMITTER,
        {"commit ids are not kept": assigned("balance.recent", "()")},
    ),
    *mutants_of(
        f"{_PLAN}._resolve",
        _PORT,
        {
            "the hold is not given back": assigned("self.balance.reserved", "outcome.amount"),
            "open reservations are not counted down": assigned("self.balance.open_reservations", "0"),
            "the reservation row stays": without_call("DeleteReservation"),
            "expiry leaves no marker": condition("Expire", "_ and not outcome.amount.tokens"),
        },
    ),
    *mutants_of(
        f"{_PLAN}._settle_late",
        _PORT,
        {
            "a late settlement charges all again": without_operand("operation.charged"),
            "a late settlement above the expiry charge is no excess": argument("excess_over", 0, "reservation.amount"),
            "a late settlement may be booked twice": without_call("DeleteMarker"),
            "an adjustment may be booked twice": without_call("InsertLateMark"),
        },
    ),
    *mutants_of(
        f"{_PLAN}._close",
        _PORT,
        {"a period closes over open reservations": condition("self.balance.open_reservations", False)},
    ),
    *mutants_of(
        f"{_PLAN}._change",
        _PORT,
        {"a closed period takes entries": replaced("LaneState.CLOSED", "LaneState.CLOSING")},
    ),
    *mutants_of(
        f"{_PLAN}._change_lane",
        _PORT,
        {"a grant is lost when the quota changes": called("plus", "operation.limit")},
    ),
    *mutants_of(
        f"{_PLAN}._append", _PORT, {"an entry has the number of the entry before it": assigned("balance.seq", "0")}
    ),
    *mutants_of(
        "shared.domain.audit.hash_chain:HashChain.seal",
        "unit/ledger/test_periods.py",
        {"the hash chain leaves out the hash of the entry before": without_operand("head")},
    ),
    *mutants_of(
        "shared.domain.audit.hash_chain:HashChain.seal",
        _CHAIN,
        {
            "the mac is made over the hash of the entry before": argument("update", 0, "head.encode()"),
            "the hash does not cover the method": argument("_encode", 0, "{**fields, 'method': ''}"),
            "the hash does not cover the key version": argument("_encode", 0, "{**fields, 'key_version': ''}"),
        },
    ),
    *mutants_of(
        "shared.domain.audit.hash_chain:HashChain.use",
        _CHAIN,
        {"a rotated key does not sign": argument("new", 0, "next(iter(ring.keys.values()))")},
    ),
    *mutants_of(
        "shared.domain.audit.hash_chain:ChainVerifier._check_sha256",
        _CHAIN,
        {
            "a mac is not compared": condition("_mac", False),
            "a missing mac is none of a version": condition("DIGEST", False),
            "a key version may be any text": condition("KEY_VERSION", True),
        },
    ),
    *mutants_of(
        "shared.domain.audit.hash_chain:ChainVerifier._check_hmac",
        _CHAIN,
        {"what is left of a newer entry is overlooked": condition("sealed.covered", False)},
    ),
    *mutants_of(
        "shared.application.ledger.chain_report:ChainReport.unproven",
        "contract/ledger/test_chain.py",
        {"a missing key is passed over": condition("row.is_key_known", False)},
    ),
    *mutants_of(
        f"{_PLAN}._transfer",
        _LANES,
        {
            "a transfer may be booked twice": without_call("InsertTransfer"),
            "a transfer out takes more than is available": condition("available", False),
            "a transfer out leaves its amount with the donor": without_operand("transferred"),
        },
    ),
    *mutants_of(
        f"{_PLAN}._claim",
        _LANES,
        {"a leased lane is leased to another process": condition("balance.owner_until", False)},
    ),
]
