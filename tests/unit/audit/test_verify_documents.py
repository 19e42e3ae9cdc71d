"""A document that was changed without an event is found."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from shared.adapters.documents.audit_periods import DocumentAuditPeriods, DocumentBaseline
from shared.adapters.documents.audited_places import DocumentPlaces
from shared.adapters.documents.codec import to_json
from shared.adapters.documents.pricing import DocumentPrices
from shared.adapters.documents.routing import DocumentCatalog, DocumentHints
from shared.adapters.documents.store import Document, OutboxRow
from shared.adapters.documents.tenancy import DocumentKeys, DocumentTenants
from shared.adapters.documents.waiting_events import DocumentWaitingEvents
from shared.application.audit.verify_documents import VerifyDocuments
from shared.application.ports.routing import Hint
from shared.domain.identifiers import rid_at
from shared.domain.routing.catalog import Backend, Deployment
from shared.domain.tenancy.keys import new_gateway_key
from shared.domain.tenancy.tenant import Tenant
from tests.tools.audit_logs import AuditLog
from tests.tools.events import told
from tests.tools.ledgers import NOW, PRICES

TENANT = Tenant(tenant_id="acme", name="One", created_at=NOW)
BACKEND = Backend(backend_id="b/1", endpoint="e", upstream_deployment="d", model="m", region="r")
PLACE = "tenants", "acme", "tenant"


@dataclass(slots=True)
class World:
    """Documents of every kind, each with its event."""

    log: AuditLog = field(default_factory=AuditLog)

    async def fill(self) -> None:
        documents = self.log.documents
        await DocumentTenants(documents).insert(TENANT, told(after=TENANT))
        key, _ = new_gateway_key("acme", NOW, None)
        await DocumentKeys(documents).insert(key, told(after=key))
        await DocumentCatalog(documents).put_backend(BACKEND, told(after=BACKEND))
        deployment = Deployment(name="d", backends=("b/1",))
        await DocumentCatalog(documents).put_deployment(deployment, told(after=deployment))
        await DocumentPrices(documents).insert(PRICES[0].normalised(), told())
        hint = Hint(backend_id="b/1", instance="i", noted_at=NOW, down_until=NOW, reason="")
        await DocumentHints(documents).put(hint)

    def verify(self) -> VerifyDocuments:
        documents = self.log.documents
        periods, baseline = DocumentAuditPeriods(documents), DocumentBaseline(documents)
        waiting = DocumentWaitingEvents(documents)
        return VerifyDocuments(DocumentPlaces(documents), waiting, self.log.log, periods, baseline)

    async def found(self) -> list[str]:
        verified = await self.verify()()
        assert all(each.place == PLACE for each in verified.findings)
        return [each.message.partition(" event")[0] for each in verified.findings]

    async def change(self, **fields: Any) -> None:
        """Change the tenant with an event."""
        tenants = DocumentTenants(self.log.documents)
        found = await tenants.get("acme")
        assert found is not None
        changed = replace(found.value, **fields)
        at = NOW + timedelta(seconds=1)
        event = replace(told(before=found.value, after=changed), event_id=rid_at(at), at=at)
        await tenants.replace(changed, found.etag, event)

    async def write(self, **fields: Any) -> None:
        """Change the tenant's document by hand."""
        await self.log.documents.put(*PLACE, to_json(replace(TENANT, **fields)))


@pytest.fixture(params=["waiting", "chained"])
async def world(request: pytest.FixtureRequest) -> World:
    made = World()
    await made.fill()
    if request.param == "chained":
        await made.log.timer()
    return made


async def test_documents_that_agree_with_their_events_have_no_finding(world: World) -> None:
    await world.change(name="Two")
    verified = await world.verify()()
    assert (verified.findings, verified.unproven) == ([], 0)


async def test_a_document_that_was_edited_removed_or_written_again_by_hand_is_found(world: World) -> None:
    await world.write(name="Edited")
    assert await world.found() == ["the document is not as"]
    await world.write()
    assert await world.found() == ["the document was written again after"]
    await world.log.documents.remove(*PLACE)
    assert await world.found() == ["the document is gone, and"]


async def test_an_edit_is_found_also_after_the_next_change(world: World) -> None:
    await world.write(name="Edited")
    await world.change(lanes=3)
    messages = [each.message for each in (await world.verify()()).findings]
    assert [each.startswith("the document was changed between the events") for each in messages] == [True]


async def test_a_document_that_comes_back_after_its_removal_is_found() -> None:
    world = World()
    await world.fill()
    catalog = DocumentCatalog(world.log.documents)
    await catalog.remove_backend("b/1", told(before=BACKEND))
    assert (await world.verify()()).findings == []
    await world.log.documents.put("backends", "backend", "b=2F1", to_json(BACKEND))
    (finding,) = (await world.verify()()).findings
    assert finding.place == ("backends", "backend", "b=2F1")
    assert "the document is there, and event" in finding.message


async def test_documents_of_earlier_versions_are_counted_as_unproven(world: World) -> None:
    await world.log.documents.put("tenants", "old", "tenant", to_json(replace(TENANT, tenant_id="old")))
    verified = await world.verify()()
    assert (verified.findings, verified.unproven) == ([], 1)


async def test_a_document_that_changes_while_it_is_verified_is_no_finding(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = world.log.documents.list

    async def change_after(table: str, **options: Any) -> list[Document]:
        found = await read(table, **options)
        if table == "tenants":
            await world.change(name="Two")
        return found

    monkeypatch.setattr(world.log.documents, "list", change_after)
    assert await world.found() == []


@pytest.mark.parametrize("place", [1, "only/two", "a/b/c/d"])
async def test_events_that_tell_of_no_document_are_passed_over(world: World, place: object) -> None:
    event = {
        "after_sha256": "", "at": "2026-11-22T12:00:00.000Z", "before_sha256": "", "event_id": "1" * 32, "place": place
    }  # fmt: skip
    text = json.dumps(event, sort_keys=True, separators=(",", ":"))
    await world.log.documents.append("audit", "outbox", OutboxRow("1" * 32, text))
    await world.log.documents.append("audit", "outbox", OutboxRow("2" * 32, "bad"))
    assert await world.found() == []
