"""Amounts and limits: tokens and pUSD, which are always held and charged together."""

from __future__ import annotations

from shared.domain.stored_fields import stored
from shared.domain.values import value

NO_LIMIT = -1

MAX_PERIOD_TOKENS = 10**15
"""The highest quota, in tokens."""


def _limit_from(stored_limit: int) -> int | None:
    return None if stored_limit == NO_LIMIT else stored_limit


@value
class Amount:
    """Tokens and pUSD, which are always held and charged together."""

    tokens: int = stored("tokens", int64=True, default=0)
    pusd: int = stored("pUSD (10^-12 USD)", int64=True, default=0)

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.pusd + other.pusd)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.tokens - other.tokens, self.pusd - other.pusd)

    def excess_over(self, other: Amount) -> Amount:
        """Return the excess of this amount over another in each unit, never below zero."""
        if self.tokens <= other.tokens and self.pusd <= other.pusd:
            return NOTHING
        return Amount(max(0, self.tokens - other.tokens), max(0, self.pusd - other.pusd))


NOTHING = Amount()


@value
class Limit:
    """A period's quota and budget; `None` means no limit. A budget is at most 9 million USD (Int64)."""

    tokens: int | None = stored(
        "tokens; -1 for no quota", via="stored_tokens", parse=_limit_from, int64=True, default=None
    )
    pusd: int | None = stored("pUSD; -1 for no budget", via="stored_pusd", parse=_limit_from, int64=True, default=None)

    @property
    def stored_tokens(self) -> int:
        """The quota, in tokens; -1 for none, because a merge cannot remove a property of a row."""
        return NO_LIMIT if self.tokens is None else self.tokens

    @property
    def stored_pusd(self) -> int:
        """The budget, in pUSD; -1 for none."""
        return NO_LIMIT if self.pusd is None else self.pusd

    def plus(self, amount: Amount) -> Limit:
        """Return the limit raised by `amount`, in the units that have a limit."""
        return Limit(
            None if self.tokens is None else self.tokens + amount.tokens,
            None if self.pusd is None else self.pusd + amount.pusd,
        )

    def minus(self, other: Limit) -> Amount:
        """Return the difference to another limit; 0 in units where one of them has no limit."""
        return Amount((self.tokens or 0) - (other.tokens or 0), (self.pusd or 0) - (other.pusd or 0))


NO_LIMITS = Limit()
