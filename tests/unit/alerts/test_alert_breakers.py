"""Alerts about backends, regions and pools, from the breakers of one process."""

from __future__ import annotations

from dataclasses import replace

from shared.adapters.documents.alerts import DocumentAlerts
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.alerts.raise_alert import RaiseAlert
from shared.application.alerts.store_alert import StoreAlert
from shared.application.background import Background
from shared.application.routing.alert_breakers import BreakerAlerts
from shared.domain.routing.backend_health import BackendHealth, BreakerPolicy
from shared.domain.routing.catalog import Backend, Catalog, Deployment
from shared.domain.routing.transitions import Transitions
from tests.tools.ledgers import ManualClock
from tests.tools.watched_keys import stored_alerts


def backend(name: str, region: str, weight: int = 1) -> Backend:
    return Backend(
        backend_id=name,
        endpoint="https://x.openai.azure.com",
        upstream_deployment="gpt-4o",
        model="gpt-4o",
        region=region,
        weight=weight,
    )


BACKENDS = [backend("se-1", "se"), backend("se-2", "se"), backend("de-1", "de"), backend("de-2", "de", 0)]
CATALOG = Catalog(
    {
        "chat": Deployment(name="chat", backends=("se-1", "de-1")),
        "safe": Deployment(name="safe", backends=("se-1",), fallbacks=("chat",)),
        "other": Deployment(name="other", backends=("se-2",)),
        "drained": Deployment(name="drained", backends=("de-2",)),
    },
    {each.backend_id: each for each in BACKENDS},
)


class Breakers:
    """The breakers of all backends, whose changes raise alerts."""

    def __init__(self) -> None:
        self.documents, self.background = InMemoryDocuments(), Background()
        raise_alert = RaiseAlert(StoreAlert(DocumentAlerts(self.documents)), ManualClock(), self.background)
        self.alert = BreakerAlerts(raise_alert)
        transitions = Transitions(report=lambda health: self.alert(health, CATALOG, self.healths.get))
        self.healths = {
            each.backend_id: BackendHealth(backend_id=each.backend_id, transitions=transitions, policy=BreakerPolicy())
            for each in BACKENDS
        }

    def fail(self, name: str) -> None:
        for _ in range(20):
            self.healths[name].failed(0.0, "status 500", is_probe=False)

    async def told(self) -> list[str]:
        await self.background.drain()
        alerts = await stored_alerts(self.documents)
        return sorted(f"{each['type'].removeprefix('tallygate.')} {each['subject']}" for each in alerts)


async def test_a_region_and_the_deployments_that_nothing_else_serves_are_told() -> None:
    breakers = Breakers()
    breakers.fail("se-1")
    assert await breakers.told() == []
    breakers.fail("se-2")
    assert await breakers.told() == ["pool.down deployments/other", "region.down regions/se"]
    breakers.fail("de-1")
    assert await breakers.told() == [
        "pool.down deployments/chat",
        "pool.down deployments/other",
        "pool.down deployments/safe",
        "region.down regions/de",
        "region.down regions/se",
    ]


async def test_a_backend_that_refuses_the_gateway_is_told_with_the_reason() -> None:
    breakers = Breakers()
    for _ in range(3):
        breakers.healths["se-1"].misconfigured(0.0, "status 401", is_probe=False)
    assert await breakers.told() == ["backend.misconfigured backends/se-1"]
    (alert,) = await stored_alerts(breakers.documents)
    assert alert["data"] == {"backend": "se-1", "region": "se", "reason": "status 401"}


async def test_a_backend_a_region_and_a_deployment_of_one_name_have_events_of_different_ids() -> None:
    breakers, same = Breakers(), backend("se", "se")
    catalog = Catalog({"se": Deployment(name="se", backends=("se",))}, {"se": same})
    health = BackendHealth(backend_id="se", transitions=Transitions(), policy=BreakerPolicy())
    for _ in range(3):
        health.misconfigured(0.0, "status 401", is_probe=False)
    breakers.alert(health, catalog, lambda _: health)
    await breakers.background.drain()
    alerts = await stored_alerts(breakers.documents)
    assert len({each["type"] for each in alerts}) == len({each["id"] for each in alerts}) == 3


async def test_backends_that_recover_or_only_refuse_for_their_rate_are_not_down() -> None:
    breakers = Breakers()
    for name in ("se-1", "se-2", "de-1"):
        breakers.healths[name].throttled(0.0, 30, "status 429", is_probe=False)
        breakers.healths[name].close(1.0)
    assert await breakers.told() == []


async def test_a_backend_that_was_removed_is_not_told() -> None:
    breakers = Breakers()
    gone = BackendHealth(backend_id="gone", transitions=replace(Transitions()), policy=BreakerPolicy())
    gone.misconfigured(0.0, "status 401", is_probe=False)
    breakers.alert(gone, CATALOG, breakers.healths.get)
    assert await breakers.told() == []
