"""The body of `POST /manage/prices`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationInfo, field_validator

from shared.definitions import Name, Text
from shared.domain.ledger.amounts import MAX_PERIOD_TOKENS
from shared.domain.pricing.money import pusd_per_token
from shared.domain.pricing.price import Price
from shared.domain.pricing.service_tier import UNSTATED_TIER, service_tier
from shared.domain.pricing.usage import Meter
from shared.http.management.models import Moment, Tokens


def _usd_per_million(text: str) -> str:
    pusd_per_token(text)
    return text


def _service_tier(text: str) -> str:
    if service_tier(text) == UNSTATED_TIER:
        raise ValueError("must be a tier that answers state, for example 'priority'")
    return text


UsdPerMillion = Annotated[StrictStr, AfterValidator(_usd_per_million)]
ServiceTier = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$"), AfterValidator(_service_tier)]


class PriceInsertion(BaseModel):
    """One row of the price book. Null matches any value, but a null `service_tier` is the standard tier.

    A row with a context band applies to requests of more than `input_tokens_above` input tokens and at most
    `input_tokens_up_to`.
    """

    model_config = ConfigDict(extra="forbid")

    model: Name
    meter: Meter
    usd_per_million: UsdPerMillion
    effective_from: Moment
    model_version: Name | None = None
    sku: Name | None = None
    region: Name | None = None
    variant: Annotated[StrictStr, Field(min_length=1, max_length=64)] | None = None
    service_tier: ServiceTier | None = None
    input_tokens_above: Tokens = 0
    input_tokens_up_to: Annotated[StrictInt, Field(ge=1, le=MAX_PERIOD_TOKENS)] | None = None
    source: Text = ""

    @field_validator("input_tokens_up_to")
    @classmethod
    def _check_band(cls, up_to: int | None, info: ValidationInfo) -> int | None:
        if up_to is not None and up_to <= info.data.get("input_tokens_above", 0):
            raise ValueError("must be greater than 'input_tokens_above'")
        return up_to

    def to_domain(self) -> Price:
        """Return the price."""
        return Price(**self.model_dump())
