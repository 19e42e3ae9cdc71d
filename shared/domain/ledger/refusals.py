"""Errors for refused reservations."""

from __future__ import annotations

from datetime import datetime

from shared.domain.errors import BudgetExceeded, GatewayError, PeriodNotOpen, QuotaExceeded, RateLimitExceeded
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Balance, Refusal
from shared.domain.ledger.operations import Ask, Reserve
from shared.domain.pricing.money import usd
from shared.domain.rate_limit import limit_status


def refused(operation: Reserve | Ask, refusal: Refusal, balance: Balance, period: str, now: datetime) -> GatewayError:
    """Return the error for a reservation that `balance` does not admit, with the time for a retry."""
    retry_at = BillingPeriod.parse(period).end
    amount = operation.amount if isinstance(operation, Ask) else operation.reservation.amount
    if refusal is Refusal.TOKENS:
        return QuotaExceeded(
            f"The monthly token quota would be exceeded: this request may use up to {amount.tokens} tokens and "
            f"{balance.available_tokens} are available until the period {period} ends.",
            retry_at,
        )
    if refusal is Refusal.MONEY:
        return BudgetExceeded(
            f"The monthly budget would be exceeded: this request may cost up to {usd(amount.pusd)} USD and "
            f"{usd(balance.available_pusd or 0)} USD are available until the period {period} ends.",
            retry_at,
        )
    if refusal is Refusal.RATE:
        error = RateLimitExceeded(
            "The tenant's requests or tokens of this minute are used up. Retry after the stated time.",
            balance.arrivals.admit(operation.rate_limits, amount.tokens, now)[1],
        )
        error.limit_status = limit_status(operation.rate_limits, balance.arrivals, now)
        return error
    return PeriodNotOpen(f"The billing period {period} admits no further requests.")
