"""Grants: tokens and dollars beyond a period's quota and budget."""

from __future__ import annotations

import hashlib

from shared.domain.identifiers import BillingPeriod
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

    def event_id(self, tenant_id: str, month: BillingPeriod) -> str:
        """Return the id of the audit event that tells this grant in a month: equal for equal grants."""
        named = (tenant_id, self.period, self.grant_id, self.amount.tokens, self.amount.pusd, month)
        return hashlib.sha256("|".join(map(str, named)).encode()).hexdigest()[:32]
