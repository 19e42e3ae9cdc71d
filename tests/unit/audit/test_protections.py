"""The events of a change name the protections that it weakens."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.alerts.sink import AlertSink, SinkType
from shared.domain.audit.audit_period import AuditPeriod
from shared.domain.audit.protections import PROTECTIONS, WeakSettings, weakened
from shared.domain.content_filter import ContentFilterPolicy, Severity
from shared.domain.routing.residency import Residency
from shared.domain.tenancy.keys import GatewayKey, KeyScope, new_gateway_key
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import field_names
from tests.tools.ledgers import NOW

STRICT = Tenant(
    tenant_id="acme",
    name="Acme",
    created_at=NOW,
    monthly_quota_tokens=1000,
    monthly_budget_usd="5",
    requests_per_minute=1,
    residency=Residency(("eu", "us"), allow_global=False),
    content_filter_policy=ContentFilterPolicy.BLOCK,
    content_filter_threshold=Severity.MEDIUM,
    address_ranges=("10.0.0.0/16", "10.1.0.0/16"),
    trust_user_header=False,
)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"content_filter_policy": ContentFilterPolicy.ANNOTATE}, ("content_filter_policy",)),
        ({"content_filter_threshold": Severity.HIGH}, ("content_filter_threshold",)),
        ({"content_filter_threshold": Severity.LOW}, ()),
        ({"residency": Residency(("eu",), allow_global=False)}, ()),
        ({"residency": Residency(("eu", "asia"), allow_global=False)}, ("residency",)),
        ({"residency": Residency((), allow_global=False)}, ("residency",)),
        ({"residency": Residency(("eu", "us"), allow_global=True)}, ("residency",)),
        ({"monthly_quota_tokens": None, "monthly_budget_usd": None}, ("monthly_quota_tokens", "monthly_budget_usd")),
        ({"monthly_quota_tokens": 10**9, "name": "New"}, ()),
        ({"requests_per_minute": None}, ("requests_per_minute",)),
        ({"tokens_per_minute": 5}, ()),
        ({"address_ranges": ("10.0.0.0/16",)}, ()),
        ({"address_ranges": ("10.0.0.0/8",)}, ("address_ranges",)),
        ({"address_ranges": ()}, ("address_ranges",)),
        ({"trust_user_header": True}, ("trust_user_header",)),
    ],
)
def test_a_change_that_protects_less_names_the_protection(change: dict[str, Any], named: tuple[str, ...]) -> None:
    assert weakened(STRICT, replace(STRICT, **change)) == named
    assert weakened(replace(STRICT, **change), replace(STRICT, **change)) == ()


def test_a_key_that_expires_no_more_is_weakened() -> None:
    key, _ = new_gateway_key("acme", NOW, NOW + timedelta(days=1))
    assert weakened(key, replace(key, expires_at=None)) == ("expires_at",)
    assert weakened(replace(key, expires_at=None), key) == ()


def test_a_key_that_may_do_more_is_weakened() -> None:
    key = replace(new_gateway_key("acme", NOW, None)[0], scope=KeyScope.USAGE_READ, deployments=("gpt-4o",))
    assert weakened(key, replace(key, scope=KeyScope.USE)) == ("scope",)
    assert weakened(key, replace(key, deployments=None)) == ("deployments",)
    assert weakened(replace(key, scope=KeyScope.USE, deployments=None), key) == ()
    assert weakened(STRICT, replace(STRICT, deployments=("gpt-4o",))) == ()


def test_a_sink_that_gets_nothing_any_more_is_weakened() -> None:
    sink = AlertSink(name="ops", type=SinkType.TEAMS)
    assert weakened(sink, replace(sink, enabled=False)) == ("enabled",)
    assert weakened(replace(sink, enabled=False), sink) == ()


def test_a_new_or_removed_object_weakens_nothing() -> None:
    assert weakened(None, STRICT) == weakened(STRICT, None) == ()


def test_each_protection_is_a_field_of_a_managed_object() -> None:
    assert PROTECTIONS.keys() <= {
        name for kind in (Tenant, GatewayKey, AlertSink, AuditPeriod, WeakSettings) for name in field_names(kind)
    }
