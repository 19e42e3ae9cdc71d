"""Grants: tokens and dollars beyond a period's quota and budget."""

from __future__ import annotations

from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.values import record


@record
class TenantGrant:
    """An amount granted to a tenant for a period. `limit` is the period's quota and budget with all grants."""

    period: str
    grant_id: str
    amount: Amount
    reason: str
    limit: Limit
