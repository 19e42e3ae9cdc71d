"""Alerts are stored once, in the background, and in a bounded number."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from shared.adapters.documents.alerts import DocumentAlerts
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.alerts.raise_alert import RaiseAlert
from shared.application.alerts.store_alert import StoreAlert
from shared.application.background import Background
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.alerts.severity import AlertSeverity
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
        self.raise_alert = RaiseAlert(StoreAlert(self.outbox), self.clock, self.background)

    async def __call__(self, name: str, tenant: str = "acme") -> None:
        self.raise_alert(AlertKind.KEY_ADDRESS_REFUSED, tenant, name, f"tenants/{tenant}", {})
        await self.background.drain()

    async def of_platform(self, name: str, kind: AlertKind = AlertKind.BACKEND_MISCONFIGURED) -> None:
        self.raise_alert.of_platform(kind, name, f"backends/{name}", {})
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


async def test_the_platform_gets_twenty_alerts_of_a_kind_an_hour_beside_those_of_tenants() -> None:
    raised = Raised()
    for number in range(30):
        await raised.of_platform(f"backend-{number}")
    await raised.of_platform("eu", AlertKind.REGION_DOWN)
    await raised("key")
    assert await raised.kinds() == {
        "backend.misconfigured": 20,
        "alerts.suppressed": 1,
        "region.down": 1,
        "key.address_refused": 1,
    }
    (suppressed,) = [each for each in await stored_alerts(raised.documents) if "suppressed" in each["type"]]
    assert (suppressed["subject"], suppressed["data"]) == ("platform", {"kind": "backend.misconfigured"})
    assert "tenantid" not in suppressed


async def test_an_event_states_its_severity_and_its_tenant() -> None:
    raised = Raised()
    await raised("key")
    (event,) = await stored_alerts(raised.documents)
    assert (event["severity"], event["tenantid"]) == ("warning", "acme")


def test_severities_ascend() -> None:
    assert AlertSeverity.ERROR.reaches(AlertSeverity.ERROR)
    assert AlertSeverity.CRITICAL.reaches(AlertSeverity.INFO)
    assert not AlertSeverity.WARNING.reaches(AlertSeverity.ERROR)
    assert {kind.severity for kind in AlertKind} == {*AlertSeverity}
