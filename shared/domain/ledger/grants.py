"""Grants as the entries of a ledger tell them."""

from __future__ import annotations

from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.values import value


@value
class Granted:
    """The amount of a grant, and the period's limit right after it."""

    amount: Amount
    limit: Limit


def grant_reference(grant_id: str) -> str:
    """Return the reference of a grant's limit entry."""
    return f"grant/{grant_id}"
