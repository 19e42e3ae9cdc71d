"""An operator is told that chains or anchors fail: at once of damage, and of an outage once it lasts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from shared.adapters.documents.alerts import DocumentAlerts
from shared.adapters.documents.health import DocumentStates
from shared.adapters.documents.store import Document, OutboxRow
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.monitor.silent import SilentTelemetry
from shared.application.alerts.store_alert import StoreAlert
from shared.application.audit.anchor_heads import ChainDamaged
from shared.application.audit.anchor_log import AnchorsDamaged
from shared.application.health.run_timer import RunTimer
from shared.application.health.tell_failed_chains import TellFailedChains
from shared.application.ports.anchors import SigningUnavailable
from shared.application.sweep import SweepFailed
from shared.domain.errors import RowsDamaged, StorageUnavailable
from shared.domain.health.timer_run import TimerRun
from tests.tools.ledgers import ManualClock

OUTAGES = [StorageUnavailable("no"), SigningUnavailable("no"), SweepFailed([("acme", StorageUnavailable("no"))])]
DAMAGES = [
    AnchorsDamaged("leaf/1 is missing"),
    SweepFailed([("a", StorageUnavailable("no")), ("b", ChainDamaged("the chain is missing"))]),
    SweepFailed([("log", SweepFailed([("b", RowsDamaged("The row holds no event."))]))]),
]


class Storage(InMemoryDocuments):
    """Documents that cannot be reached for a while."""

    is_down = False

    async def get(self, table: str, partition: str, key: str) -> Document | None:
        self._require()
        return await super().get(table, partition, key)

    async def insert(self, table: str, partition: str, key: str, text: str, event: OutboxRow | None = None) -> str:
        self._require()
        return await super().insert(table, partition, key, text, event)

    async def put(self, table: str, partition: str, key: str, text: str) -> None:
        self._require()
        await super().put(table, partition, key, text)

    def _require(self) -> None:
        if self.is_down:
            raise StorageUnavailable


@dataclass
class World:
    documents: Storage = field(default_factory=Storage)
    clock: ManualClock = field(default_factory=ManualClock)
    error: Exception | None = None

    def __post_init__(self) -> None:
        runs = DocumentStates(self.documents, "timers", TimerRun)
        run_timer = RunTimer(runs, self.clock, "i", SilentTelemetry())
        self.tell = TellFailedChains(run_timer, runs, StoreAlert(DocumentAlerts(self.documents)), self.clock)

    async def work(self) -> Mapping[str, int]:
        if self.error is not None:
            raise self.error
        return {}

    async def run(self, timer: str = "anchor_audit", minutes: float = 5) -> None:
        """Run the timer, and let time go by."""
        if self.error is None:
            await self.tell(timer, self.work, past_due=False)
        else:
            with pytest.raises(type(self.error)):
                await self.tell(timer, self.work, past_due=False)
        self.clock.seconds += minutes * 60

    async def alerts(self) -> list[dict[str, object]]:
        return [json.loads(each.text) for each in await self.documents.list("alerts")]


@pytest.mark.parametrize("error", DAMAGES)
@pytest.mark.parametrize(("timer", "kind"), [("anchor_audit", "anchors.failed"), ("chain_audit", "chain.failed")])
async def test_damage_is_told_at_once_and_once_a_day(error: Exception, timer: str, kind: str) -> None:
    world = World()
    await world.run(timer)
    world.error = error
    for _ in range(3):
        await world.run(timer)
    (alert,) = await world.alerts()
    assert (alert["type"], alert["severity"], alert["subject"]) == (f"tallygate.{kind}", "critical", f"timers/{timer}")
    assert alert["data"] == {"timer": timer, "error": type(error).__name__, "message": str(error)}
    await world.run(timer, minutes=24 * 60)
    await world.run(timer)
    assert len(await world.alerts()) == 2


@pytest.mark.parametrize("error", OUTAGES)
@pytest.mark.parametrize("has_succeeded", [True, False])
async def test_an_outage_is_told_after_half_an_hour(error: Exception, *, has_succeeded: bool) -> None:
    world = World()
    if has_succeeded:
        await world.run(minutes=0)
    world.error = error
    for _ in range(6):
        await world.run()
    assert await world.alerts() == []
    await world.run()
    (alert,) = await world.alerts()
    assert (alert["severity"], alert["type"]) == ("error", "tallygate.anchors.failed")


async def test_an_outage_that_ends_in_between_is_told_to_nobody() -> None:
    world = World()
    for number in range(20):
        world.error = None if number % 5 == 0 else StorageUnavailable()
        await world.run()
    assert await world.alerts() == []


async def test_an_outage_of_storage_itself_is_told_by_the_log(caplog: pytest.LogCaptureFixture) -> None:
    world = World(error=StorageUnavailable())
    world.documents.is_down = True
    for _ in range(6):
        await world.run()
    assert "gateway.alert " not in caplog.text
    await world.run()
    assert "gateway.alert " in caplog.text
    world.documents.is_down = False
    await world.run()
    assert len(await world.alerts()) == 0  # storage knows of no run before
    await world.run(minutes=30)
    await world.run()
    assert len(await world.alerts()) == 1


async def test_other_timers_have_other_alerts() -> None:
    world = World(error=RowsDamaged("x"))
    for _ in range(9):
        await world.run("roll_up_usage")
    assert await world.alerts() == []
