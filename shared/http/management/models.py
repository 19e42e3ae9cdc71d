"""Bodies of the management API. The same models validate requests and describe them in `/reference`.

To add a tenant setting, add it to `Tenant` in `shared/domain/tenancy/tenant.py` and to `TenantSettings`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import NoneType
from typing import Annotated, Any, Final, get_args, get_type_hints

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationInfo,
    field_validator,
)

from shared.alert_settings import MAX_THRESHOLD
from shared.definitions import Model, Name, Pool, Text, printable
from shared.domain.content_filter import ContentFilterPolicy, Severity
from shared.domain.identifiers import TENANT_ID
from shared.domain.ledger.amounts import MAX_PERIOD_TOKENS
from shared.domain.ledger.entries import ExpiryPolicy
from shared.domain.ledger.lanes import MAX_LANES
from shared.domain.pricing.money import pusd_from_usd
from shared.domain.routing.residency import Residency
from shared.domain.tenancy.address_ranges import MAX_RANGES, normalised_range
from shared.domain.tenancy.tenant import DisconnectPolicy, Tenant
from shared.http.management.principal_model import EntraPrincipals, EntraPrincipalSettings

_NULLABLE_SETTINGS: Final = frozenset(
    name for name, hint in get_type_hints(Tenant).items() if NoneType in get_args(hint)
)
_MAX_TOKENS = MAX_PERIOD_TOKENS
_MAX_PER_MINUTE = 10**12
MAX_NAMES = 500
_MAX_POOLS = 100
_MAX_TAGS = 50


def _usd(text: str) -> str:
    pusd_from_usd(text)
    return text


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("must carry a time zone, for example 2026-11-01T00:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from None


def _is_text(moment: object) -> object:
    """Refuse numbers, which some take for seconds and others for milliseconds or a date."""
    if isinstance(moment, str) and not moment.lstrip("+-").replace(".", "", 1).isdigit():
        return moment
    raise ValueError("must be a date and time, for example 2026-11-01T00:00:00Z")


def _distinct(texts: list[str]) -> list[str]:
    return [*dict.fromkeys(texts)]


Usd = Annotated[StrictStr, AfterValidator(_usd)]
Moment = Annotated[datetime, BeforeValidator(_is_text), AfterValidator(_in_utc)]
Reason = Annotated[StrictStr, Field(min_length=1, max_length=256), AfterValidator(printable)]
Names = Annotated[list[Name], Field(max_length=MAX_NAMES)]
Tokens = Annotated[StrictInt, Field(ge=0, le=_MAX_TOKENS)]
AddressRange = Annotated[StrictStr, AfterValidator(normalised_range)]
AddressRanges = Annotated[list[AddressRange], Field(max_length=MAX_RANGES), AfterValidator(_distinct)]
Thresholds = Annotated[list[Annotated[StrictInt, Field(ge=1, le=MAX_THRESHOLD)]], Field(max_length=20)]
PerMinute = Annotated[StrictInt, Field(ge=1, le=_MAX_PER_MINUTE)]


class ResidencySettings(Model):
    """Where the tenant's data may be processed. Naming zones excludes global processing unless it is allowed."""

    zones: Names = Field(default=[])
    allow_global: StrictBool | None = None

    def to_domain(self) -> Residency:
        allow_global = not self.zones if self.allow_global is None else self.allow_global
        return Residency(tuple(self.zones), allow_global)


def _without_null(schema: dict[str, Any]) -> None:
    """Take null out of the description of settings that refuse it. It is the default of one that was not sent."""
    for name, described in schema["properties"].items():
        if name not in _NULLABLE_SETTINGS and "anyOf" in described:
            described["anyOf"] = [each for each in described["anyOf"] if each != {"type": "null"}]
            del described["default"]


class TenantSettings(Model):
    """The settings of a tenant that may be changed. A quota or budget of null means none; 0 allows nothing.

    A setting may be null if it may be `None` in the domain's `Tenant`.
    """

    model_config = ConfigDict(json_schema_extra=_without_null)

    name: Text | None = None
    cost_center: Text | None = None
    contact: Text | None = None
    deployments: Names | None = None
    monthly_quota_tokens: Tokens | None = None
    monthly_budget_usd: Usd | None = None
    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    max_tokens_per_request: PerMinute | None = None
    lanes: Annotated[StrictInt, Field(ge=1, le=MAX_LANES)] | None = None
    residency: ResidencySettings | None = None
    pools: Annotated[dict[Name, Pool], Field(max_length=_MAX_POOLS)] | None = None
    priority: Annotated[StrictInt, Field(ge=1, le=100)] | None = None
    max_concurrent_requests: Annotated[StrictInt, Field(ge=1, le=100_000)] | None = None
    content_filter_policy: ContentFilterPolicy | None = None
    content_filter_threshold: Severity | None = None
    on_disconnect: DisconnectPolicy | None = None
    expiry_policy: ExpiryPolicy | None = None
    tags: Annotated[dict[Name, Text], Field(max_length=_MAX_TAGS)] | None = None
    trust_user_header: StrictBool | None = None
    pseudonymise_users: StrictBool | None = None
    prompt_hmac: StrictBool | None = None
    address_ranges: AddressRanges | None = None
    entra_principals: EntraPrincipals | None = None
    alert_thresholds: Thresholds | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_null(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.field_name not in _NULLABLE_SETTINGS:
            raise ValueError("must not be null")
        return value

    def _settings(self) -> dict[str, Any]:
        """Return the settings that were sent, as the domain has them."""
        sent = self.model_fields_set & TenantSettings.model_fields.keys()
        return {name: _domain_value(getattr(self, name)) for name in sent}


def _domain_value(sent: object) -> object:
    match sent:
        case ResidencySettings() | EntraPrincipalSettings():
            return sent.to_domain()
        case list():
            return tuple(_domain_value(each) for each in sent)
        case dict():
            return {name: _domain_value(each) for name, each in sent.items()}
        case _:
            return sent


class TenantRegistration(TenantSettings):
    """A new tenant."""

    tenant_id: Annotated[StrictStr, Field(pattern=f"^{TENANT_ID.pattern}$")]
    name: Text = ""

    def to_domain(self, created_at: datetime) -> Tenant:
        """Return the tenant, whose name is its id unless one was sent."""
        return Tenant(tenant_id=self.tenant_id, created_at=created_at, **{"name": self.tenant_id, **self._settings()})


class TenantChange(TenantSettings):
    """The settings of a tenant to change, and the reason, for the entry of a new quota or budget."""

    reason: Reason = "tenant changed"

    def apply(self, tenant: Tenant) -> Tenant:
        """Return the tenant with the settings that were sent."""
        return replace(tenant, **self._settings())


class Grant(Model):
    """Tokens, dollars or both on top of a period's quota and budget: of the current period, or of the next.

    `grant_id` makes it safe to send again: an id is granted once in a period.
    """

    tokens: Annotated[StrictInt, Field(ge=0, le=_MAX_TOKENS)] = 0
    usd: Usd = "0"
    reason: Reason
    period: Annotated[StrictStr, Field(pattern=r"^\d{4}-\d{2}$")] | None = None
    grant_id: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None


class RouteQuestion(Model):
    """A request that is not made: which backend would serve it?"""

    tenant_id: Annotated[StrictStr, Field(pattern=f"^{TENANT_ID.pattern}$")]
    deployment: Name
    tokens: Annotated[StrictInt, Field(ge=0, le=_MAX_TOKENS)] = 0
