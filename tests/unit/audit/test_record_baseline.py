"""Documents that are older than the audit log get one event each, and later ones without an event are found."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from shared.adapters.documents.audit import sha256_of
from shared.adapters.documents.audit_periods import DocumentAuditPeriods, DocumentBaseline
from shared.adapters.documents.audited_places import DocumentPlaces
from shared.adapters.documents.codec import to_json
from shared.adapters.documents.jobs import DocumentCursors
from shared.adapters.documents.waiting_events import DocumentWaitingEvents
from shared.application.audit.record_baseline import RecordBaseline
from shared.application.audit.verify_documents import DocumentsVerified, VerifyDocuments
from shared.application.sweep import SweepFailed
from shared.domain.errors import StorageUnavailable, VersionConflict
from shared.domain.tenancy.tenant import Tenant
from tests.tools.audit_logs import AuditLog
from tests.tools.events import told, waiting
from tests.tools.ledgers import NOW

TENANT = Tenant(tenant_id="acme", name="One", created_at=NOW)
PLACE = "tenants", "acme", "tenant"
OLD = {
    "acme": PLACE,
    "acme/a 1": ("credentials", "acme", "a 1"),
    "b/1": ("backends", "backend", "b=2F1"),
    "gpt-4o": ("backends", "deployment", "gpt-4o"),
    "m/1/p1": ("prices", "m=2F1", "p1"),
}


@dataclass(slots=True)
class World:
    """An account of an earlier version, and processes of this one."""

    log: AuditLog = field(default_factory=AuditLog)

    async def fill(self) -> None:
        for place in OLD.values():
            await self.log.documents.insert(*place, to_json(TENANT))
        await self.log.documents.insert("backends", "hint", "b1", "{}")

    def process(self, slice_seconds: float = 60) -> RecordBaseline:
        documents = self.log.documents
        places, stored = DocumentPlaces(documents), DocumentBaseline(documents)
        return RecordBaseline(places, stored, DocumentCursors(documents), self.log.clock, slice_seconds)

    async def complete(self) -> None:
        """Pass through all documents twice, and chain the events."""
        for _ in range(2):
            await self.process()()
            self.log.clock.seconds += 3600
        await self.log.timer()

    async def verified(self) -> DocumentsVerified:
        documents = self.log.documents
        periods, baseline = DocumentAuditPeriods(documents), DocumentBaseline(documents)
        places = DocumentPlaces(documents)
        return await VerifyDocuments(places, DocumentWaitingEvents(documents), self.log.log, periods, baseline)()

    async def messages(self) -> list[str]:
        return [each.message for each in (await self.verified()).findings]


@pytest.fixture
async def world() -> World:
    made = World()
    await made.fill()
    return made


def baselines(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = [each for each in events if each["action"] == "baseline"]
    by_target = {each["target"]: each for each in found}
    assert len(by_target) == len(found)
    return by_target


async def test_each_old_document_gets_one_event_that_states_what_was_found(world: World) -> None:
    assert (await world.verified()).unproven == len(OLD)
    assert await world.process()() == len(OLD)
    events = baselines(await waiting(world.log.documents))
    assert {target: tuple(each["place"].split("/", 2)) for target, each in events.items()} == OLD
    for each in events.values():
        assert (each["actor"], each["before"], each["after"]) == ("gateway", None, None)
        assert (each["before_sha256"], each["after_sha256"]) == ("", sha256_of(to_json(TENANT)))
    verified = await world.verified()
    assert (verified.findings, verified.unproven) == ([], 0)
    await world.log.timer()
    assert len(baselines(await world.log.chained())) == len(OLD)
    assert await world.messages() == []


async def test_an_edit_of_an_old_document_is_found(world: World) -> None:
    await world.process()()
    await world.log.documents.put(*PLACE, to_json(replace(TENANT, name="Edited")))
    (message,) = await world.messages()
    assert message.startswith("the document is not as event")


async def test_two_processes_at_once_record_each_document_once(world: World) -> None:
    counts = await asyncio.gather(*(world.process()() for _ in range(3)))
    assert sum(counts) == len(OLD)
    assert len(baselines(await waiting(world.log.documents))) == len(OLD)


async def test_a_document_that_is_changed_or_removed_meanwhile_is_recorded_as_it_is_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = world.log.documents
    read = documents.get

    async def change_first(table: str, partition: str, key: str) -> Any:
        monkeypatch.setattr(documents, "get", read)
        await documents.put(*PLACE, to_json(replace(TENANT, name="Two")))
        await documents.remove(*OLD["gpt-4o"])
        return await read(table, partition, key)

    places = DocumentPlaces(documents)
    found = {each.target: each async for each in places.all()}
    monkeypatch.setattr(documents, "get", change_first)
    for target in ("acme", "gpt-4o"):
        with pytest.raises(VersionConflict):
            await places.add_event(found[target], told())
    work = world.process()._record
    assert [await work(found[target]) for target in ("acme", "gpt-4o", "acme")] == [1, 0, 0]
    (event,) = await waiting(documents)
    assert event["after_sha256"] == sha256_of(to_json(replace(TENANT, name="Two")))


async def test_what_one_slice_does_not_reach_the_next_one_does(world: World) -> None:
    assert await world.process(slice_seconds=0)() == 0
    assert await DocumentCursors(world.log.documents).get("baseline-passed") == ""
    assert await world.process()() == len(OLD)


async def test_a_document_that_cannot_be_recorded_stops_no_other_and_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced = world.log.documents.replace

    async def fail(table: str, *rest: Any) -> str:
        if table == "prices":
            raise StorageUnavailable("gone")
        return await replaced(table, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(world.log.documents, "replace", fail)
        with pytest.raises(SweepFailed, match=r"1 failed\. prices/m=2F1/p1: StorageUnavailable"):
            await world.process()()
    assert await world.process()() == 1


async def test_it_is_completed_after_an_hour_so_that_processes_of_an_earlier_version_may_end(world: World) -> None:
    process = world.process()
    assert await process() == len(OLD)
    place = "credentials", "acme", "late"
    await world.log.documents.insert(*place, "{}")
    world.log.clock.seconds += 3599
    assert await process() == 0
    assert not await DocumentBaseline(world.log.documents).is_complete()
    world.log.clock.seconds += 1
    assert [await process(), await process(), await world.process()()] == [1, 0, 0]
    await world.log.timer()
    (event,) = [each for each in await world.log.chained() if each["action"] == "baseline.complete"]
    assert (event["actor"], event["target"]) == ("gateway", "documents")
    assert await world.messages() == []


async def test_of_two_processes_that_complete_it_one_does(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.process()()
    world.log.clock.seconds += 3600
    slow, stored = world.process(), DocumentBaseline(world.log.documents)
    complete = slow._stored.complete

    async def complete_later(*told: Any) -> None:
        await world.process()()
        await complete(*told)

    monkeypatch.setattr(slow._stored, "complete", complete_later)
    assert await slow() == 0
    assert await stored.is_complete()
    assert [each["action"] for each in await waiting(world.log.documents)].count("baseline.complete") == 1


async def test_a_cursor_that_somebody_spoilt_does_not_delay_the_end(world: World) -> None:
    await DocumentCursors(world.log.documents).put("baseline-passed", "zzz")
    await world.process()()
    assert await DocumentBaseline(world.log.documents).is_complete()


async def test_a_document_that_is_inserted_by_hand_after_it_is_found(world: World) -> None:
    await world.complete()
    await world.log.documents.insert("tenants", "evil", "tenant", "{}")
    assert await world.process()() == 0
    assert await world.messages() == ["the document has no event, and the baseline is complete"]


@pytest.mark.parametrize("is_removed", [True, False])
async def test_the_baseline_cannot_be_begun_again_unseen(world: World, is_removed: bool) -> None:
    await world.complete()
    await world.log.documents.insert("tenants", "evil", "tenant", "{}")
    await world.log.documents.remove("audit", "settings", "baseline")
    if not is_removed:  # a pass an hour ago is on record
        await world.process()()
    found = {each.place: each.message for each in (await world.verified()).findings}
    message = "the document is gone, and event" if is_removed else "the document was changed between the events"
    assert found["audit", "settings", "baseline"].startswith(message)
