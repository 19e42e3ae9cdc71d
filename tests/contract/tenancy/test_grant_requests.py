"""One suite of the grants that were asked for, over memory and Azurite."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from shared.adapters.documents.audit import GRANTS_TABLE
from shared.adapters.documents.grants import DocumentGrantRequests
from shared.adapters.documents.store import Documents, key_of
from shared.application.audit.record_audit import Actor
from shared.application.ports.tenancy import Versioned
from shared.domain.audit.events import AuditEvent
from shared.domain.errors import AlreadyExists, RowsDamaged, VersionConflict
from shared.domain.identifiers import new_rid
from shared.domain.tenancy.grant import RequestedGrant
from tests.contract.storage.conftest import documents as documents
from tests.tools.ledgers import NOW, PERIOD


def requested(**changes: object) -> RequestedGrant:
    facts = RequestedGrant(
        tenant_id=new_rid(), period=PERIOD, grant_id="g-1", tokens=5, pusd=7, actor="ann", reason="r", requested_at=NOW
    )
    return replace(facts, **changes)  # type: ignore[arg-type] # by name


def event(action: str = "tenant.grant") -> AuditEvent:
    return Actor(name="ann").event(NOW, action, "acme")


async def waiting(documents: Documents, tenant_id: str) -> list[str]:
    found = await documents.pending(GRANTS_TABLE, 10_000)
    return [json.loads(each.text)["action"] for each in found if each.partition == tenant_id]


async def test_a_request_is_stored_with_its_event_once(documents: Documents) -> None:
    grants, asked = DocumentGrantRequests(documents), requested()
    assert await grants.find(asked.name) is None
    added = await grants.add(asked, event())
    with pytest.raises(AlreadyExists):
        await grants.add(asked, event("another"))
    assert await grants.find(asked.name) == added == Versioned(asked, added.etag)
    assert await waiting(documents, asked.tenant_id) == ["tenant.grant"]
    assert asked.name in await grants.names()


async def test_a_request_is_ended_by_the_process_that_took_it_over_last(documents: Documents) -> None:
    grants, asked = DocumentGrantRequests(documents), requested()
    first = await grants.add(asked, event())
    second = await grants.take_over(first)
    assert second.value == asked
    for ended in (grants.take_over(first), grants.remove(first), grants.refuse(first, event("no"))):
        with pytest.raises(VersionConflict):
            await ended
    await grants.remove(second)
    assert asked.name not in await grants.names()
    for ended in (grants.take_over(second), grants.remove(second), grants.refuse(second, event("no"))):
        with pytest.raises(VersionConflict):
            await ended
    assert await waiting(documents, asked.tenant_id) == ["tenant.grant"]


async def test_a_refusal_is_stored_with_the_removal(documents: Documents) -> None:
    grants, asked = DocumentGrantRequests(documents), requested()
    await grants.refuse(await grants.add(asked, event()), event("tenant.grant.refuse"))
    assert await grants.find(asked.name) is None
    assert sorted(await waiting(documents, asked.tenant_id)) == ["tenant.grant", "tenant.grant.refuse"]


async def test_a_row_that_something_else_wrote_is_named(documents: Documents) -> None:
    grants, asked = DocumentGrantRequests(documents), requested()
    added = await grants.add(asked, event())
    key = key_of(asked.name[1])
    other = await grants.add(requested(), event())
    stored = await documents.get(GRANTS_TABLE, other.value.tenant_id, key)
    assert stored is not None
    for text in ("{}", "x", stored.text):
        added = Versioned(asked, await documents.replace(GRANTS_TABLE, asked.tenant_id, key, text, added.etag))
        with pytest.raises(RowsDamaged, match=asked.tenant_id):
            await grants.find(asked.name)
    assert asked.name in await grants.names()
