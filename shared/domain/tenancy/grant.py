"""Grants: tokens and dollars beyond a period's quota and budget."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.values import record

GrantName: TypeAlias = tuple[str, str]
"""Tenant id, and `{period}|{grant id}`."""


@record
class TenantGrant:
    """An amount granted to a tenant for a period. `limit` is the period's quota and budget with all grants."""

    period: str
    grant_id: str
    amount: Amount
    reason: str
    limit: Limit


@record
class RequestedGrant:
    """A grant that an administrator has asked for, and of which nobody knows yet whether the ledger has booked it."""

    tenant_id: str
    period: str
    grant_id: str
    tokens: int
    pusd: int
    actor: str
    reason: str
    requested_at: datetime

    @property
    def amount(self) -> Amount:
        """The amount to be granted."""
        return Amount(self.tokens, self.pusd)

    @property
    def name(self) -> GrantName:
        """The name of the grant among those of all tenants."""
        return self.tenant_id, f"{self.period}|{self.grant_id}"
