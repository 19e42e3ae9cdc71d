"""Events that wait, and the log that they are chained into."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from shared.adapters.documents.audit import DocumentOutbox
from shared.adapters.documents.audit_periods import DocumentAuditPeriods
from shared.adapters.documents.store import Documents
from shared.adapters.documents.waiting_events import DocumentWaitingEvents
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.audit_chain import TableAuditChain
from shared.adapters.tables.store import TableStore
from shared.application.audit.chain_events import ChainEvents
from shared.application.audit.record_audit import Actor
from shared.application.audit.verify_audit_log import VerifyAuditLog
from shared.domain.audit.audit_chain import WaitingEvent
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.identifiers import rid_at, timestamp
from tests.tools.ledgers import NOW, PERIOD, FaultyStore, ManualClock


def chain_of(key: bytes = b"test", version: str = "0") -> HashChain:
    return HashChain(KeyRing(keys={version: key}, newest=version))


def event_at(moment: datetime, text: str = "x") -> WaitingEvent:
    """Return an event of a moment, as a row holds it."""
    event_id = rid_at(moment)
    return WaitingEvent(
        event_id, timestamp(moment), json.dumps({"at": timestamp(moment), "event_id": event_id, "x": text})
    )


def events(count: int, text: str = "x") -> list[WaitingEvent]:
    """Return events of the test's month, a second apart."""
    return [event_at(NOW + timedelta(seconds=number), text) for number in range(count)]


@dataclass(slots=True)
class AuditLog:
    """Documents and tables of one account, and the timer's use case over them. Several share an account."""

    documents: Documents = field(default_factory=InMemoryDocuments)
    store: TableStore = field(default_factory=InMemoryTableStore)
    chain: HashChain = field(default_factory=chain_of)
    clock: ManualClock = field(default_factory=ManualClock)
    log: TableAuditChain = field(init=False)
    faulty: FaultyStore = field(init=False)
    timer: ChainEvents = field(init=False)

    def __post_init__(self) -> None:
        self.faulty = FaultyStore(self.store)  # type: ignore[arg-type] # an inspectable one
        self.log = TableAuditChain(self.faulty, self.chain)
        self.timer = ChainEvents(DocumentWaitingEvents(self.documents), self.log, self.clock, 60)

    async def record(self, action: str, at: datetime = NOW) -> str:
        """Let an event wait. Returns its id."""
        event = Actor(name="ann").event(at, action, "acme")
        await DocumentOutbox(self.documents).append(event)
        return event.event_id

    async def chained(self, period: str = PERIOD) -> list[dict[str, Any]]:
        """Return the events of a month's log, in order."""
        return [json.loads(each.text) async for each in self.log.entries(period, 1, 10**6)]

    def verify(self) -> VerifyAuditLog:
        return VerifyAuditLog(self.log, self.chain, DocumentAuditPeriods(self.documents))

    async def findings(self, period: str = PERIOD) -> list[str]:
        """Return what verification finds."""
        return [f"{each.row}: {each.message}" for each in (await self.verify()(period)).findings]


async def listed(items: AsyncIterator[Any]) -> Sequence[Any]:
    return [each async for each in items]
