"""Tenants and their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from shared.domain.content_filter import ContentFilterPolicy, Severity
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.entries import ExpiryPolicy
from shared.domain.pricing.money import pusd_from_usd
from shared.domain.rate_limit import RateLimits
from shared.domain.routing.residency import Residency
from shared.domain.values import record


class TenantState(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class DisconnectPolicy(StrEnum):
    """What happens upstream when a client hangs up mid-stream."""

    DRAIN = "drain"
    CUT = "cut"


@record
class Tenant:
    """The owner of a quota and a bill. `None` for quota or budget means none; `0` means nothing is allowed."""

    tenant_id: str
    name: str
    created_at: datetime
    cost_center: str = ""
    contact: str = ""
    deployments: tuple[str, ...] = ()
    monthly_quota_tokens: int | None = None
    monthly_budget_usd: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_tokens_per_request: int | None = None
    lanes: int = 1
    """How many gateway processes may each have a lane of this tenant's ledger; more than 1 makes the tenant hot."""
    residency: Residency = field(default_factory=Residency)
    pools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of a deployment, the backends that serve this tenant instead of the deployment's own."""
    priority: int = 1
    """Its weight among tenants that wait for the same backends."""
    max_concurrent_requests: int | None = None
    content_filter_policy: ContentFilterPolicy = ContentFilterPolicy.PASS
    content_filter_threshold: Severity = Severity.MEDIUM
    """From which severity on `block` refuses."""
    on_disconnect: DisconnectPolicy = DisconnectPolicy.DRAIN
    expiry_policy: ExpiryPolicy = ExpiryPolicy.INPUT
    tags: Mapping[str, str] = field(default_factory=dict)
    state: TenantState = TenantState.ACTIVE

    @property
    def limit(self) -> Limit:
        """Quota and budget in the ledger's units."""
        return _limit(self.monthly_quota_tokens, self.monthly_budget_usd)

    @property
    def routed_settings(self) -> tuple[object, ...]:
        """The settings that decide which backends may serve the tenant."""
        return self.deployments, self.residency, self.pools

    @property
    def has_rate_limits(self) -> bool:
        """Whether any limit a minute is set."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None

    @property
    def rate_limits(self) -> RateLimits:
        """Limits a minute."""
        return _rate_limits(self.requests_per_minute, self.tokens_per_minute)


_rate_limits = lru_cache(maxsize=1024)(RateLimits)


@lru_cache(maxsize=1024)
def _limit(quota_tokens: int | None, budget_usd: str | None) -> Limit:
    return Limit(quota_tokens, None if budget_usd is None else pusd_from_usd(budget_usd))
