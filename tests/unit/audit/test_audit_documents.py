"""Stored audit documents read the same, whichever version of the gateway wrote them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.documents.audit import DocumentOutbox
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.audit.record_audit import Actor
from shared.domain.content_filter import ContentFilterPolicy, Severity
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.entries import ExpiryPolicy
from shared.domain.pricing.price import Price
from shared.domain.pricing.usage import Meter
from shared.domain.routing.catalog import Backend, BackendApi, BackendAuth, Deployment
from shared.domain.routing.residency import Residency
from shared.domain.tenancy.grant import TenantGrant
from shared.domain.tenancy.tenant import DisconnectPolicy, Tenant, TenantState
from shared.domain.values import ValueObject
from tests.tools.ledgers import EARLY, NOW, ManualClock

WRITTEN = Path(__file__).parents[2] / "corpus" / "audit"
ADMINISTRATOR = Actor(name="admin-key", source_address="192.0.2.1")
TENANT = Tenant(
    tenant_id="acme",
    name="Größe",
    created_at=NOW,
    cost_center="CC-1",
    contact="ops@acme.example",
    deployments=("gpt-4o", "draw"),
    monthly_quota_tokens=1000,
    monthly_budget_usd="12.50",
    requests_per_minute=1,
    lanes=2,
    residency=Residency(("eu",), allow_global=False),
    pools={"gpt-4o": ("b1", "b2")},
    content_filter_policy=ContentFilterPolicy.BLOCK,
    content_filter_threshold=Severity.HIGH,
    on_disconnect=DisconnectPolicy.CUT,
    expiry_policy=ExpiryPolicy.FULL,
    tags={"team": "blue"},
    state=TenantState.SUSPENDED,
)
OBJECTS: dict[str, ValueObject] = {
    "tenant": TENANT,
    "backend": Backend(
        backend_id="b1",
        endpoint="https://contoso.openai.azure.com",
        upstream_deployment="gpt-4o",
        model="gpt-4o",
        region="swedencentral",
        zone="eu",
        auth=BackendAuth.API_KEY,
        api=BackendApi.OPENAI,
        headers={"x-a": "b"},
        max_concurrent_requests=5,
    ),
    "deployment": Deployment(name="gpt-4o", backends=("b1",), fallbacks=("mini",), temperature=0.5),
    "price": Price(model="gpt-4o", meter=Meter.CACHED_INPUT, usd_per_million="1.25", effective_from=EARLY, sku="x"),
    "grant": TenantGrant(
        period="2026-11", grant_id="g1", amount=Amount(5, 5 * 10**11), reason="launch", limit=Limit(1005, None)
    ),
}


async def recorded(**acts: Any) -> str:
    documents = InMemoryDocuments()
    event = ADMINISTRATOR.event(ManualClock().now(), "x.change", "acme", **acts)
    await DocumentOutbox(documents).append(event)
    (waiting,) = await documents.pending("audit", 10)
    assert json.loads(waiting.text)["event_id"] == waiting.event_id == event.event_id
    return waiting.text.replace(event.event_id, "ID").replace("12:00:00.000Z", "12:00:00Z")


@pytest.mark.parametrize("name", OBJECTS)
async def test_an_object_is_written_with_the_names_and_values_of_earlier_versions(name: str) -> None:
    known, written = json.loads((WRITTEN / f"{name}.json").read_text()), json.loads(await recorded(after=OBJECTS[name]))
    added = {field: value for field, value in written["after"].items() if field not in known["after"]}
    assert {name: written[name] for name in known} == known | {"after": known["after"] | added}


async def test_an_audit_event_may_lack_the_object_before_or_after_it() -> None:
    changed = json.loads(await recorded(before=TENANT, after=replace(TENANT, name="New")))
    assert (changed["before"]["name"], changed["after"]["name"]) == ("Größe", "New")
    created = json.loads(await recorded())
    assert created == {
        "event_id": "ID",
        "at": "2026-11-22T12:00:00Z",
        "actor": "admin-key",
        "action": "x.change",
        "target": "acme",
        "before": None,
        "after": None,
        "source_address": "192.0.2.1",
        "role": "",
        "request_id": "",
        "reason": "",
        "place": "",
        "before_sha256": "",
        "after_sha256": "",
    }
