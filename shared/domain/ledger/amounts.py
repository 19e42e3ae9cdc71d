"""Amounts and limits: tokens and pUSD, which are always held and charged together."""

from __future__ import annotations

from shared.domain.values import value

NO_LIMIT = -1

MAX_PERIOD_TOKENS = 10**15


@value
class Amount:
    """Tokens and pUSD, which are always held and charged together."""

    tokens: int = 0
    pusd: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.pusd + other.pusd)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.tokens - other.tokens, self.pusd - other.pusd)

    def beyond(self, other: Amount) -> Amount:
        """How far this amount exceeds another, in each unit, never below zero."""
        if self.tokens <= other.tokens and self.pusd <= other.pusd:
            return NOTHING
        return Amount(max(0, self.tokens - other.tokens), max(0, self.pusd - other.pusd))


NOTHING = Amount()


@value
class Limit:
    """A period's quota and budget; `None` means none. Money never exceeds 9 million USD a period (Int64)."""

    tokens: int | None = None
    pusd: int | None = None

    def plus(self, amount: Amount) -> Limit:
        """The limit that is higher by `amount`, in the units that are limited."""
        return Limit(
            None if self.tokens is None else self.tokens + amount.tokens,
            None if self.pusd is None else self.pusd + amount.pusd,
        )


NO_LIMITS = Limit()
