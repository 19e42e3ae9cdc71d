"""Grants as the entries of a ledger tell them."""

from __future__ import annotations

from typing import Final

from shared.domain.errors import InvalidRequest
from shared.domain.ledger.amounts import MAX_PERIOD_TOKENS, Amount, Limit
from shared.domain.pricing.money import MAX_PERIOD_PUSD
from shared.domain.values import value

_PREFIX: Final = "grant/"


@value
class Granted:
    """The amount of a grant, and the period's limit right after it."""

    amount: Amount
    limit: Limit


def grant_reference(grant_id: str) -> str:
    """Return the reference of a grant's limit entry."""
    return f"{_PREFIX}{grant_id}"


def grant_of_reference(reference: str) -> str:
    """Return the id of the grant that a limit entry names; empty for any other reference."""
    return reference.removeprefix(_PREFIX) if reference.startswith(_PREFIX) else ""


def raised_limit(limit: Limit, amount: Amount) -> Limit:
    """Return a period's limit after a grant.

    Raises `InvalidRequest` for a unit without a limit, and for a limit above the ledger's maximum.
    """
    raised = limit.plus(amount)
    for name, added, total, most in (
        ("tokens", amount.tokens, raised.tokens, MAX_PERIOD_TOKENS),
        ("usd", amount.pusd, raised.pusd, MAX_PERIOD_PUSD),
    ):
        if added and total is None:
            raise InvalidRequest(f"The tenant has no limit in {name}, so there is nothing to grant.", name)
        if total is not None and total > most:
            raise InvalidRequest(f"The grant would raise the limit in {name} above the ledger's maximum.", name)
    return raised
