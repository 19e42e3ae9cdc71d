"""What the management API takes. The same models validate requests and describe them in `/openapi.json`.

To add a tenant setting, add it here and to `shared/domain/tenancy.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, field_validator

from shared.domain.content_filter import ContentFilterPolicy, Severity
from shared.domain.identifiers import TENANT_ID
from shared.domain.lanes import MAX_LANES
from shared.domain.ledger import MAX_PERIOD_TOKENS, ExpiryPolicy
from shared.domain.money import pusd_from_usd, pusd_per_token
from shared.domain.routing import BackendAuth, Residency
from shared.domain.tenancy import DisconnectPolicy
from shared.domain.usage import Meter

_MAX_TOKENS = MAX_PERIOD_TOKENS
_MAX_PER_MINUTE = 10**12


def _usd(text: str) -> str:
    pusd_from_usd(text)
    return text


def _usd_per_million(text: str) -> str:
    pusd_per_token(text)
    return text


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("must carry a time zone, for example 2026-11-01T00:00:00Z")
    return moment.astimezone(UTC)


def _not_null(value: Any) -> Any:
    if value is None:
        raise ValueError("must not be null")
    return value


Usd = Annotated[StrictStr, AfterValidator(_usd)]
UsdPerMillion = Annotated[StrictStr, AfterValidator(_usd_per_million)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]
Name = Annotated[StrictStr, Field(min_length=1, max_length=128, pattern=r"^\S(.*\S)?$")]
Text = Annotated[StrictStr, Field(max_length=256)]
Reason = Annotated[StrictStr, Field(min_length=1, max_length=256)]
Tokens = Annotated[StrictInt, Field(ge=0, le=_MAX_TOKENS)]
PerMinute = Annotated[StrictInt, Field(ge=1, le=_MAX_PER_MINUTE)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ResidencySettings(_Model):
    """Where the tenant's data may be processed. Naming zones excludes global processing unless it is allowed."""

    zones: list[Name] = []
    allow_global: StrictBool | None = None

    def to_domain(self) -> Residency:
        allow_global = not self.zones if self.allow_global is None else self.allow_global
        return Residency(tuple(self.zones), allow_global)


class TenantSettings(_Model):
    """What may be changed of a tenant. A quota or budget of null means none; 0 means nothing is allowed."""

    name: Text | None = None
    cost_center: Text | None = None
    contact: Text | None = None
    deployments: list[Name] | None = None
    monthly_quota_tokens: Tokens | None = None
    monthly_budget_usd: Usd | None = None
    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    max_tokens_per_request: PerMinute | None = None
    lanes: Annotated[StrictInt, Field(ge=1, le=MAX_LANES)] | None = None
    residency: ResidencySettings | None = None
    content_filter_policy: ContentFilterPolicy | None = None
    content_filter_threshold: Severity | None = None
    on_disconnect: DisconnectPolicy | None = None
    expiry_policy: ExpiryPolicy | None = None
    tags: dict[Text, Text] | None = None

    @field_validator(
        "name", "cost_center", "contact", "deployments", "lanes", "residency", "on_disconnect", "expiry_policy",
        "content_filter_policy", "content_filter_threshold", "tags",
        mode="before",
    )  # fmt: skip
    @classmethod
    def _require_value(cls, value: Any) -> Any:
        return _not_null(value)

    def stated(self) -> dict[str, Any]:
        """The fields that were sent, as the domain has them."""
        fields = {name: getattr(self, name) for name in self.model_fields_set}
        if self.residency is not None:
            fields["residency"] = self.residency.to_domain()
        if self.deployments is not None:
            fields["deployments"] = tuple(self.deployments)
        return fields


class TenantRegistration(TenantSettings):
    """A new tenant."""

    tenant_id: Annotated[StrictStr, Field(pattern=f"^{TENANT_ID.pattern}$")]
    name: Text = ""


class TenantChange(TenantSettings):
    """What to change of a tenant, and why, for the entry of a new quota or budget."""

    reason: Reason = "tenant changed"

    def stated(self) -> dict[str, Any]:
        fields = super().stated()
        fields.pop("reason", None)
        return fields


class Grant(_Model):
    """Tokens, dollars or both on top of a period's quota and budget: of the current period, or of the next.

    `grant_id` makes it safe to send again: an id is granted once in a period.
    """

    tokens: Annotated[StrictInt, Field(ge=0, le=_MAX_TOKENS)] = 0
    usd: Usd = "0"
    reason: Reason
    period: Annotated[StrictStr, Field(pattern=r"^\d{4}-\d{2}$")] | None = None
    grant_id: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None


class KeyCreation(_Model):
    """A new key, without an expiry unless one is given."""

    expires_at: Moment | None = None


class PriceInsertion(_Model):
    """One row of the price book. Null matches any value."""

    model: Name
    meter: Meter
    usd_per_million: UsdPerMillion
    effective_from: Moment
    model_version: Text | None = None
    sku: Text | None = None
    region: Text | None = None
    variant: Annotated[StrictStr, Field(min_length=1, max_length=64)] | None = None
    source: Text = ""


class BackendDefinition(_Model):
    """One Azure OpenAI resource and deployment."""

    endpoint: Annotated[StrictStr, Field(min_length=1, max_length=256)]
    upstream_deployment: Name
    model: Name
    region: Name
    model_version: Text = ""
    api_version: Text = ""
    sku: Name = "Standard"
    zone: Text = ""
    priority: Annotated[StrictInt, Field(ge=0, le=1000)] = 1
    weight: Annotated[StrictInt, Field(ge=1, le=1000)] = 1
    auth: BackendAuth = BackendAuth.MANAGED_IDENTITY
    token_scope: Annotated[StrictStr, Field(pattern=r"^https://\S+/\.default$")] = (
        "https://cognitiveservices.azure.com/.default"
    )


class DeploymentDefinition(_Model):
    """The pool behind a public name. Caps and sampling are sent upstream where the caller sets none and the model takes
    them; `system_prompt` is put before what every caller sends."""

    backends: Annotated[list[Name], Field(min_length=1)]
    max_output_tokens: Annotated[StrictInt, Field(ge=1, le=_MAX_TOKENS)] | None = None
    reserve_output_tokens: Annotated[StrictInt, Field(ge=1, le=_MAX_TOKENS)] = 4096
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    system_prompt: Annotated[StrictStr, Field(max_length=16_384)] = ""
