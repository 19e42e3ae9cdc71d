"""Lanes, accounts, and the balance of a lane."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from shared.domain.audit.hash_chain import canonical
from shared.domain.ledger.amounts import NO_LIMITS, NOTHING, Amount, Limit
from shared.domain.pricing.money import MAX_PERIOD_PUSD
from shared.domain.rate_limit import Arrivals, RateLimits
from shared.domain.stored_fields import Codec, FieldValue, stored
from shared.domain.values import fact

RECENT_COMMITS = 32


class LaneState(StrEnum):
    """The state of a lane in its billing period."""

    OPEN = "OPEN"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"


class Lane(NamedTuple):
    """One balance row of a tenant's period. Number 0 is the vault, the only lane unless the tenant is hot."""

    tenant_id: str
    period: str
    number: int = 0

    @property
    def vault(self) -> Lane:
        """The lane that holds the limit, less what other lanes have taken."""
        return Lane(self.tenant_id, self.period)


@fact
class Account:
    """A tenant's period, and the limit under which it opens if it is not open yet."""

    tenant_id: str
    period: str
    limit: Limit
    rate_limits: RateLimits = RateLimits()
    lanes: int = 1
    """The most processes with a lane of their own; with 1 all share the vault."""

    @property
    def vault(self) -> Lane:
        return Lane(self.tenant_id, self.period)


def _commit_ids(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


@dataclass(slots=True, kw_only=True)
class Balance:
    """The row `B` of one lane. `available = limit + transferred - used - reserved`. A plan changes a copy of it.

    The vault's limit is the tenant's, plus what was granted. Other lanes have a limit of zero, or none where the
    tenant has none.
    """

    head: str = stored("hash of the last entry, or the genesis hash of the lane", always=True)
    limit: Limit = stored(
        "limit with grants (0 or none in a lane other than the vault)", prefix="limit_", always=True, default=NO_LIMITS
    )
    limit0: Limit = stored("limit when the lane was opened", prefix="limit0_", always=True, default=NO_LIMITS)
    state: LaneState = stored(
        "`OPEN`, `CLOSING` or `CLOSED`", via="state._value_", parse=LaneState, always=True, default=LaneState.OPEN
    )
    used: Amount = stored("charges of all entries", prefix="used_", always=True, default=NOTHING)
    reserved: Amount = stored("holds of open reservations", prefix="reserved_", always=True, default=NOTHING)
    excess: Amount = stored(
        "charges beyond what was still held for them", prefix="excess_", always=True, default=NOTHING
    )
    open_reservations: int = stored("number of open reservations", always=True, default=0)
    seq: int = stored("number of the last entry", int64=True, always=True, default=0)
    version: int = stored("number of commits", int64=True, always=True, default=0)
    recent: tuple[str, ...] = stored(
        "ids of the last 32 commits, newest first, joined by commas",
        via="recent_text",
        parse=_commit_ids,
        always=True,
        default=(),
    )
    arrivals: Arrivals = stored(
        "state of the limit per minute (GCRA), in microseconds since 1970", always=True, default=Arrivals()
    )
    transferred: Amount = stored(
        "transfers into the lane, less those out of it",
        prefix="moved_",
        always=True,
        may_be_missing=True,
        default=NOTHING,
    )
    granted: Amount = stored("grants beyond the limit", prefix="granted_", default=NOTHING)
    owner: str = stored("process that has the lane lease", default="")
    owner_until: str = stored("end of the lane lease, RFC 3339 in UTC", default="")

    def copy(self) -> Balance:
        """Return a copy to plan on. Field by field it costs a fifth of `dataclasses.replace` (ADR 12)."""
        copied = object.__new__(Balance)
        copied.head = self.head
        copied.limit = self.limit
        copied.limit0 = self.limit0
        copied.state = self.state
        copied.used = self.used
        copied.reserved = self.reserved
        copied.excess = self.excess
        copied.open_reservations = self.open_reservations
        copied.seq = self.seq
        copied.version = self.version
        copied.recent = self.recent
        copied.arrivals = self.arrivals
        copied.transferred = self.transferred
        copied.granted = self.granted
        copied.owner = self.owner
        copied.owner_until = self.owner_until
        return copied

    @property
    def recent_text(self) -> str:
        return ",".join(self.recent)

    @property
    def available_tokens(self) -> int | None:
        """Tokens left to reserve, never below zero; `None` where there is no quota."""
        if self.limit.tokens is None:
            return None
        return max(0, self.limit.tokens + self.transferred.tokens - self.used.tokens - self.reserved.tokens)

    @property
    def available_pusd(self) -> int | None:
        """pUSD left to reserve, never below zero; `None` where there is no budget."""
        if self.limit.pusd is None:
            return None
        return max(0, self.limit.pusd + self.transferred.pusd - self.used.pusd - self.reserved.pusd)

    def refusal(self, amount: Amount) -> Refusal | None:
        """Say why `amount` is not admitted; `None` if it is.

        Admission requires `used + reserved + amount <= limit + transferred` in both units.
        """
        if self.state is not LaneState.OPEN:
            return Refusal.NOT_OPEN
        limit, held_tokens = self.limit, self.used.tokens + self.reserved.tokens + amount.tokens
        if limit.tokens is not None and held_tokens > limit.tokens + self.transferred.tokens:
            return Refusal.TOKENS
        held_pusd = self.used.pusd + self.reserved.pusd + amount.pusd
        if held_pusd > (MAX_PERIOD_PUSD if limit.pusd is None else limit.pusd + self.transferred.pusd):
            return Refusal.MONEY
        return None


class Refusal(StrEnum):
    """The reason why a reservation was not admitted."""

    NOT_OPEN = "not_open"
    TOKENS = "tokens"
    MONEY = "money"
    RATE = "rate"


BALANCE = Codec(Balance)
"""The row `B`."""
_FOLLOWS_FROM_ENTRIES = frozenset({"head", "seq"})


def balance_digest(row: Mapping[str, FieldValue]) -> str:
    """Return the SHA-256 that the close of a lane states of the balance that it leaves.

    - It does not cover `head` and `seq`, which follow from the entries: the hash of the close is the head.
    - Values that are zero or empty are left out: earlier versions wrote some that are absent now, and stay in the row.
    """
    covered = {name: plain for name, plain in row.items() if plain and name not in _FOLLOWS_FROM_ENTRIES}
    return hashlib.sha256(canonical(covered)).hexdigest()
