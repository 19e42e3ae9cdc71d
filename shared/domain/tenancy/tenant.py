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
from shared.domain.tenancy.entra_principals import EntraPrincipal
from shared.domain.values import record


class TenantState(StrEnum):
    """The state of a tenant. Only the requests of an active one are served."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class DisconnectPolicy(StrEnum):
    """The handling of a stream after its client has disconnected."""

    DRAIN = "drain"
    """Read the stream to its end, so that its stated usage is charged."""
    CUT = "cut"
    """Close the stream at once, and charge an estimate if no usage was stated."""


@record
class Tenant:
    """The owner of a quota and a bill. A quota or budget of `None` means no limit; `0` allows nothing."""

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
    """The most gateway processes with a ledger lane of their own; more than 1 makes the tenant hot."""
    residency: Residency = field(default_factory=Residency)
    pools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By deployment: the backends that serve this tenant instead of the deployment's own."""
    priority: int = 1
    """Weight among the tenants that wait for the same backends."""
    max_concurrent_requests: int | None = None
    """The most requests that one process serves at the same time; `None` for no limit."""
    content_filter_policy: ContentFilterPolicy = ContentFilterPolicy.PASS
    content_filter_threshold: Severity = Severity.MEDIUM
    """The lowest severity that the policy `block` refuses."""
    on_disconnect: DisconnectPolicy = DisconnectPolicy.DRAIN
    expiry_policy: ExpiryPolicy = ExpiryPolicy.INPUT
    tags: Mapping[str, str] = field(default_factory=dict)
    trust_user_header: bool = True
    """Its callers may state in `x-gateway-user` for whom they call."""
    pseudonymise_users: bool = False
    """Entries, reports and alerts name an alias in place of a user's id."""
    prompt_hmac: bool = False
    """Entries carry a keyed hash of the prompt."""
    address_ranges: tuple[str, ...] = ()
    """The network addresses from which its keys and tokens are accepted; empty for all."""
    entra_principals: tuple[EntraPrincipal, ...] = ()
    """The principals of Entra ID that act for the tenant by their tokens."""
    alert_thresholds: tuple[int, ...] | None = None
    """Percent of quota and budget at which alerts are raised; `None` for those of the settings."""
    state: TenantState = TenantState.ACTIVE

    @property
    def limit(self) -> Limit:
        """Quota and budget in the ledger's units: tokens and pUSD."""
        return _limit(self.monthly_quota_tokens, self.monthly_budget_usd)

    @property
    def routed_settings(self) -> tuple[object, ...]:
        """The settings that decide which backends may serve the tenant."""
        return self.deployments, self.residency, self.pools

    @property
    def privacy_settings(self) -> tuple[bool, bool]:
        """The settings that need the gateway's privacy key."""
        return self.pseudonymise_users, self.prompt_hmac

    @property
    def has_rate_limits(self) -> bool:
        """At least one limit per minute is set."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None

    @property
    def rate_limits(self) -> RateLimits:
        """The limits per minute."""
        return RateLimits(self.requests_per_minute, self.tokens_per_minute)


@lru_cache(maxsize=1024)  # ADR 12
def _limit(quota_tokens: int | None, budget_usd: str | None) -> Limit:
    return Limit(quota_tokens, None if budget_usd is None else pusd_from_usd(budget_usd))
