"""The management API has the tenant settings of the domain, and accepts null for the same ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_type_hints

import pytest
from pydantic import ValidationError

from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import field_names
from shared.http.management.models import TenantChange, TenantRegistration, TenantSettings

NOT_SETTABLE = {"tenant_id", "created_at", "state"}
SETTINGS = tuple(TenantSettings.model_fields)
TENANT = Tenant(tenant_id="acme", name="Acme", created_at=datetime(2026, 11, 1, tzinfo=UTC))


def may_be_none(setting: str) -> bool:
    return " | None" in str(get_type_hints(Tenant)[setting])


def test_the_settings_of_the_api_are_those_of_the_domain() -> None:
    assert set(SETTINGS) == set(field_names(Tenant)) - NOT_SETTABLE


@pytest.mark.parametrize("setting", SETTINGS)
def test_null_is_accepted_if_the_domain_allows_none_and_else_refused(setting: str) -> None:
    registration = {"tenant_id": "acme", setting: None}
    if may_be_none(setting):
        assert getattr(TenantChange.model_validate({setting: None}).apply(TENANT), setting) is None
        assert getattr(TenantRegistration.model_validate(registration).to_domain(TENANT.created_at), setting) is None
    else:
        for model, body in ((TenantChange, {setting: None}), (TenantRegistration, registration)):
            with pytest.raises(ValidationError, match="must not be null"):
                model.model_validate(body)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("model", [TenantChange, TenantRegistration])
def test_the_description_allows_null_if_the_api_does(model: type[TenantSettings], setting: str) -> None:
    assert ("null" in str(model.model_json_schema()["properties"][setting])) == may_be_none(setting)


def test_settings_that_were_not_sent_stay() -> None:
    assert TenantChange.model_validate({"reason": "r"}).apply(TENANT) == TENANT
    assert TenantRegistration.model_validate({"tenant_id": "acme"}).to_domain(TENANT.created_at).name == "acme"
