"""Lanes, accounts, and the balance of a lane."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from shared.domain.ledger.amounts import NO_LIMITS, NOTHING, Amount, Limit
from shared.domain.pricing.money import MAX_PERIOD_PUSD
from shared.domain.rate_limit import Arrivals, RateLimits
from shared.domain.values import value

RECENT_COMMITS = 32


class LaneState(StrEnum):
    OPEN = "OPEN"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"


class Lane(NamedTuple):
    """One of the balance rows of a tenant's period. Number 0 is the vault, the only one unless the tenant is hot."""

    tenant_id: str
    period: str
    number: int = 0

    @property
    def vault(self) -> Lane:
        """The lane that holds what no other lane has taken."""
        return Lane(self.tenant_id, self.period)


@value
class Account:
    """Whose balance a reservation is held against, and the limit under which it opens if it is not open yet.

    `lanes` is how many processes may have a lane of their own; with 1 all share the vault.
    """

    tenant_id: str
    period: str
    limit: Limit
    rates: RateLimits = RateLimits()
    lanes: int = 1

    @property
    def vault(self) -> Lane:
        """The first lane of the account."""
        return Lane(self.tenant_id, self.period)


@dataclass(slots=True)
class Balance:
    """One lane's row `B`. `available = limit + moved - used - reserved`. A plan works on a copy of it.

    The vault's `limit` is the tenant's, with what was `granted` for this period beyond quota and budget. Other lanes
    have a limit of zero, or none where the tenant has none; `moved` is what came into the lane from others less what
    went out, so that over all lanes it adds up to what is on its way.
    `owner` is the process that a lane was given to until `owner_until`.
    """

    head: str
    limit: Limit = NO_LIMITS
    limit0: Limit = NO_LIMITS
    state: LaneState = LaneState.OPEN
    used: Amount = NOTHING
    reserved: Amount = NOTHING
    excess: Amount = NOTHING
    open_reservations: int = 0
    seq: int = 0
    version: int = 0
    recent: tuple[str, ...] = ()
    arrivals: Arrivals = Arrivals()
    moved: Amount = NOTHING
    granted: Amount = NOTHING
    owner: str = ""
    owner_until: str = ""

    def copy(self) -> Balance:
        """A copy to plan on."""
        return Balance(
            self.head,
            self.limit,
            self.limit0,
            self.state,
            self.used,
            self.reserved,
            self.excess,
            self.open_reservations,
            self.seq,
            self.version,
            self.recent,
            self.arrivals,
            self.moved,
            self.granted,
            self.owner,
            self.owner_until,
        )

    @property
    def available_tokens(self) -> int | None:
        """Tokens left to reserve, never below zero; `None` where there is no quota."""
        if self.limit.tokens is None:
            return None
        return max(0, self.limit.tokens + self.moved.tokens - self.used.tokens - self.reserved.tokens)

    @property
    def available_pusd(self) -> int | None:
        """pUSD left to reserve, never below zero; `None` where there is no budget."""
        if self.limit.pusd is None:
            return None
        return max(0, self.limit.pusd + self.moved.pusd - self.used.pusd - self.reserved.pusd)

    def refusal(self, amount: Amount) -> Refusal | None:
        """Why `amount` is not admitted: `used + reserved + amount <= limit + moved` must hold in both units."""
        if self.state is not LaneState.OPEN:
            return Refusal.NOT_OPEN
        held = self.used + self.reserved + amount
        if self.limit.tokens is not None and held.tokens > self.limit.tokens + self.moved.tokens:
            return Refusal.TOKENS
        if held.pusd > (MAX_PERIOD_PUSD if self.limit.pusd is None else self.limit.pusd + self.moved.pusd):
            return Refusal.MONEY
        return None


class Refusal(StrEnum):
    """Why a reservation was not admitted."""

    NOT_OPEN = "not_open"
    TOKENS = "tokens"
    MONEY = "money"
    RATE = "rate"
