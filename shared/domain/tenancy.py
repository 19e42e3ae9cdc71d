"""Tenants and their keys."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from shared.domain.content_filter import ContentFilterPolicy, Severity
from shared.domain.ledger import ExpiryPolicy, Limit
from shared.domain.money import pusd_from_usd
from shared.domain.rate_limit import RateLimits
from shared.domain.residency import Residency
from shared.domain.values import value

_KEY_PREFIX = "tg"


class TenantState(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class DisconnectPolicy(StrEnum):
    """What happens upstream when a client hangs up mid-stream."""

    DRAIN = "drain"
    CUT = "cut"


@value
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
    def is_rated(self) -> bool:
        """Whether any limit a minute is set."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None

    @property
    def rates(self) -> RateLimits:
        """Limits a minute."""
        return _rates(self.requests_per_minute, self.tokens_per_minute)


_rates = lru_cache(maxsize=1024)(RateLimits)


@lru_cache(maxsize=1024)
def _limit(quota_tokens: int | None, budget_usd: str | None) -> Limit:
    return Limit(quota_tokens, None if budget_usd is None else pusd_from_usd(budget_usd))


@value
class GatewayKey:
    """A credential of a tenant. Only a SHA-256 of its secret is kept: 256 random bits need no slow hash."""

    tenant_id: str
    key_id: str
    secret_sha256: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def accepts(self, secret: str, now: Callable[[], datetime]) -> bool:
        """Whether this key is in force and `secret` is its secret, compared in constant time.

        `now` is asked only of a key that expires.
        """
        in_force = self.revoked_at is None and (self.expires_at is None or now() < self.expires_at)
        return hmac.compare_digest(secret_digest(secret), self.secret_sha256) and in_force


def new_gateway_key(tenant_id: str, now: datetime, expires_at: datetime | None) -> tuple[GatewayKey, str]:
    """A fresh key and the credential `tg_{key id}_{secret}`, which is shown once and never stored.

    The key id starts with the tenant id, so that a credential is found by its tenant's partition.
    """
    key_id = f"{tenant_id}-{secrets.token_hex(4)}"
    secret = secrets.token_urlsafe(32)
    key = GatewayKey(tenant_id, key_id, secret_digest(secret), now, expires_at)
    return key, f"{_KEY_PREFIX}_{key_id}_{secret}"


def parse_gateway_key(credential: str) -> tuple[str, str, str] | None:
    """Split a credential into tenant id, key id and secret; `None` if it is not of that form."""
    prefix, _, rest = credential.partition("_")
    key_id, _, secret = rest.partition("_")
    tenant_id, _, suffix = key_id.rpartition("-")
    if prefix != _KEY_PREFIX or not tenant_id or not suffix or not secret:
        return None
    return tenant_id, key_id, secret


def secret_digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
