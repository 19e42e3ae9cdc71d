"""Alerts are stored once, in the background, and in a bounded number."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from shared.adapters.documents.alerts import DocumentAlerts
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.alerts.raise_alert import RaiseAlert
from shared.application.background import Background
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.errors import StorageUnavailable
from tests.tools.ledgers import ManualClock
from tests.tools.watched_keys import stored_alerts


class CountedAlerts(DocumentAlerts):
    """Counts calls, and fails if a test says so."""

    def __init__(self, documents: InMemoryDocuments) -> None:
        super().__init__(documents)
        self.calls = 0
        self.is_down = False

    async def add(self, alert: Alert) -> bool:
        self.calls += 1
        if self.is_down:
            raise StorageUnavailable
        return await super().add(alert)


@dataclass(slots=True)
class Raised:
    documents: InMemoryDocuments = field(default_factory=InMemoryDocuments)
    clock: ManualClock = field(default_factory=ManualClock)
    background: Background = field(default_factory=Background)
    outbox: CountedAlerts = field(init=False)
    raise_alert: RaiseAlert = field(init=False)

    def __post_init__(self) -> None:
        self.outbox = CountedAlerts(self.documents)
        self.raise_alert = RaiseAlert(self.outbox, self.clock, self.background)

    async def __call__(self, name: str, tenant: str = "acme") -> None:
        self.raise_alert(AlertKind.KEY_ADDRESS_REFUSED, tenant, name, f"tenants/{tenant}", {})
        await self.background.drain()

    async def kinds(self) -> Counter[str]:
        return Counter(each["type"].removeprefix("tallygate.") for each in await stored_alerts(self.documents))


async def test_a_tenant_gets_twenty_alerts_an_hour_and_one_that_there_were_more() -> None:
    raised = Raised()
    for number in range(1000):
        await raised(f"key:{number}")
    assert await raised.kinds() == {"key.address_refused": 20, "alerts.suppressed": 1}
    assert raised.outbox.calls == 21
    await raised("key", "other")
    assert (await raised.kinds())["key.address_refused"] == 21
    raised.clock.seconds = 3600
    await raised("key:0")
    assert await raised.kinds() == {"key.address_refused": 22, "alerts.suppressed": 1}


async def test_two_processes_store_an_alert_once() -> None:
    one = Raised()
    two = Raised(documents=one.documents)
    for raised in (one, two):
        await raised("key")
    assert one.outbox.calls == two.outbox.calls == 1
    assert await two.kinds() == {"key.address_refused": 1}


async def test_an_alert_that_could_not_be_stored_is_tried_again_by_the_next_event() -> None:
    raised = Raised()
    raised.outbox.is_down = True
    await raised("key")
    raised.outbox.is_down = False
    assert await raised.kinds() == {}
    for _ in range(3):
        await raised("key")
    assert await raised.kinds() == {"key.address_refused": 1}
    assert raised.outbox.calls == 2
