"""One run of the timer that delivers alerts: who gets what, what is tried again, and what stops nobody else."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from shared.adapters.documents.alert_sinks import DocumentSinks
from shared.adapters.documents.alerts import DocumentAlerts
from shared.adapters.documents.deliveries import DocumentDeliveries
from shared.adapters.documents.store import Document, Write
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.alerts.deliver_alerts import LEASE, DeliverAlerts, Delivered
from shared.application.alerts.end_deliveries import EndDeliveries
from shared.application.ports.alerts import Backlog, SinkFailed
from shared.application.sweep import SweepFailed
from shared.domain.alerts.alert import AlertKind
from shared.domain.alerts.event import AlertEvent
from shared.domain.alerts.sink import AlertSink, SinkId, SinkType
from shared.domain.errors import StorageUnavailable
from tests.tools.alert_receivers import alert, event
from tests.tools.events import told, waiting
from tests.tools.ledgers import NOW, ManualClock
from tests.tools.stack import eventually

OPS, ACME = SinkId("", "ops"), SinkId("acme", "hooks")
REFUSED = SinkFailed("The sink answered 400.")
DOWN = SinkFailed("The sink answered 503.", is_reachable=False)


@dataclass(slots=True)
class ScriptedSender:
    """Remembers what was sent, and fails as a test says."""

    sent: list[tuple[str, list[str]]] = field(default_factory=list)
    fails: Callable[[AlertSink, Sequence[AlertEvent]], SinkFailed | None] = lambda *_: None
    gates: dict[str, asyncio.Event] = field(default_factory=dict)

    def batch_size(self, sink: AlertSink) -> int:
        return 3 if sink.type is SinkType.EVENT_GRID else 1

    async def send(self, sink: AlertSink, events: Sequence[AlertEvent]) -> None:
        self.sent.append((sink.name, [each.event_id for each in events]))
        if sink.name in self.gates:
            await self.gates[sink.name].wait()
        failure = self.fails(sink, events)
        if failure is not None:
            raise failure

    async def check(self, sink: AlertSink) -> None:
        raise NotImplementedError


@dataclass(slots=True)
class Delivering:
    documents: InMemoryDocuments = field(default_factory=InMemoryDocuments)
    clock: ManualClock = field(default_factory=ManualClock)
    sender: ScriptedSender = field(default_factory=ScriptedSender)
    of_settings: tuple[AlertSink, ...] = ()
    exports: list[int] = field(default_factory=list)
    """By export of log lines: what was sent before it."""
    outbox: DocumentAlerts = field(init=False)
    deliveries: DocumentDeliveries = field(init=False)
    run: DeliverAlerts = field(init=False)

    def __post_init__(self) -> None:
        self.outbox, self.deliveries = DocumentAlerts(self.documents), DocumentDeliveries(self.documents)
        self.run = DeliverAlerts(
            self.outbox,
            self.deliveries,
            DocumentSinks(self.documents),
            self.sender,
            EndDeliveries(self.deliveries, self.clock),
            self.clock,
            self.export_lines,
            self.of_settings,
        )

    async def export_lines(self) -> None:
        self.exports.append(len(self.sender.sent))

    async def put_again(self, sink_id: SinkId) -> None:
        """Remove a sink, and put another of its name now."""
        sinks = DocumentSinks(self.documents)
        for found in [await sinks.get(sink_id)]:
            assert found is not None
            await sinks.remove(sink_id, found[1], told(before=found[0]))
            another = replace(found[0], created_at=self.clock.now())
            await sinks.put(another, None, told(after=another))

    async def with_sinks(self, *sinks: SinkId, type_: SinkType = SinkType.SLACK) -> Delivering:
        for each in sinks:
            sink = AlertSink(name=each.name, tenant_id=each.tenant_id, type=type_)
            await DocumentSinks(self.documents).put(sink, None, told(after=sink))
        return self

    async def raise_all(self, *names: str, tenant: str = "acme") -> None:
        for name in names:
            assert await self.outbox.add(alert(name, tenant=tenant, at=self.clock.now()))

    async def backlog(self, sink: SinkId = OPS) -> Backlog:
        found = await DocumentSinks(self.documents).get(sink)
        assert found is not None
        return await self.deliveries.backlog(found[0])

    async def rows(self, partition: str = "~sink||ops") -> list[str]:
        return [each.key for each in await self.documents.list("alerts", partition=partition)]

    async def damage(self, key: str, text: str = "nonsense", partition: str = "~sink||ops") -> None:
        await self.documents.put("alerts", partition, key, text)


def lines_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    found = [each.getMessage() for each in caplog.records]
    return [json.loads(each.partition(" ")[2]) for each in found if each.startswith("gateway.alert ")]


async def test_the_line_of_each_alert_is_written_once_and_exported_before_it_is_handed_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "tallygate")
    delivering = await Delivering().with_sinks(OPS)
    assert await delivering.outbox.add(alert("one", AlertKind.KEY_ADDRESS_REFUSED))
    assert await delivering.outbox.add(alert("eu", AlertKind.BACKEND_MISCONFIGURED, ""))
    for _ in range(2):
        await delivering.run()
    assert sorted(lines_of(caplog), key=lambda line: line["gateway.alert.kind"]) == [
        {
            "gateway.alert.kind": "backend.misconfigured",
            "gateway.alert.subject": "platform",
            "gateway.alert.severity": "error",
        },
        {
            "gateway.alert.kind": "key.address_refused",
            "gateway.alert.subject": "tenants/acme",
            "gateway.alert.severity": "warning",
            "gateway.tenant": "acme",
        },
    ]
    assert delivering.exports == [0]


async def test_an_alert_whose_process_died_before_it_was_handed_on_gets_its_line_from_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "tallygate")

    class Dying(DocumentAlerts):
        async def fan_out(self, event: AlertEvent, sinks: Sequence[SinkId], now: datetime) -> None:
            raise StorageUnavailable

    first = Delivering()
    first.outbox = first.run._outbox = Dying(first.documents)
    await first.raise_all("one")
    for _ in range(3):
        with pytest.raises(SweepFailed):
            await first.run()
    assert len(lines_of(caplog)) == 1
    await Delivering(documents=first.documents).run()
    assert len(lines_of(caplog)) == 2
    await Delivering(documents=first.documents).run()
    assert len(lines_of(caplog)) == 2


async def test_each_alert_goes_once_to_each_sink_that_wants_it() -> None:
    delivering = await Delivering().with_sinks(OPS, ACME)
    await delivering.raise_all("one")
    await delivering.raise_all("two", tenant="other")
    assert await delivering.run() == Delivered(2, 3)
    assert sorted(delivering.sender.sent) == [("hooks", ["one"]), ("ops", ["one"]), ("ops", ["two"])]
    assert await delivering.run() == Delivered(0, 0)
    assert await delivering.backlog() == Backlog(0, 0)


async def test_a_sink_of_the_settings_gets_alerts_and_a_disabled_one_none() -> None:
    grid = AlertSink(name="settings", type=SinkType.EVENT_GRID)
    off = AlertSink(name="off", type=SinkType.SLACK, enabled=False)
    delivering = Delivering(of_settings=(grid, off))
    await delivering.raise_all("one")
    assert await delivering.run() == Delivered(1, 1)
    assert delivering.sender.sent == [("settings", ["one"])]


async def test_without_sinks_alerts_are_kept_in_the_log() -> None:
    delivering = Delivering()
    await delivering.raise_all("one")
    assert await delivering.run() == Delivered(1, 0)
    assert [each.event_id for each in await delivering.outbox.of_owner("acme")] == ["one"]


async def test_a_failure_is_tried_again_seven_times_and_is_then_dead_audited_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    delivering = await Delivering().with_sinks(OPS)
    await delivering.raise_all("one")
    delivering.sender.fails = lambda *_: DOWN
    for waits, seconds in enumerate((5, 300, 1800, 7200, 18_000, 36_000), start=1):
        for _ in range(2):
            await delivering.run()
            assert len(delivering.sender.sent) == waits
            delivering.clock.seconds += seconds - 1 if _ == 0 else 1
    assert await delivering.backlog() == Backlog(1, 0)
    await delivering.run()
    assert await delivering.backlog() == Backlog(0, 1)
    (dead,) = [each for each in caplog.records if "gateway.alert.dead" in each.getMessage()]
    assert json.loads(dead.getMessage().partition(" ")[2]) == {
        "gateway.alert.sink": "alerts/sinks/ops",
        "gateway.alert.kind": "budget.threshold",
        "gateway.alert.subject": "tenants/acme",
        "error.message": "The sink answered 503.",
    }
    (event,) = [each for each in await waiting(delivering.documents) if each["action"] == "alert.give_up"]
    assert (event["target"], event["actor"]) == ("alerts/sinks/ops", "timer:deliver_alerts")
    assert event["after"] == {
        "kind": "budget.threshold",
        "alert": "one",
        "subject": "tenants/acme",
        "attempts": 7,
        "cause": "The sink answered 503.",
    }


async def test_a_sink_that_is_gone_for_good_is_not_tried_again() -> None:
    delivering = await Delivering().with_sinks(OPS)
    await delivering.raise_all("one")
    delivering.sender.fails = lambda *_: SinkFailed("The sink answered 410.", is_final=True)
    await delivering.run()
    assert await delivering.backlog() == Backlog(0, 1)


async def test_the_wait_that_a_sink_asks_for_is_kept() -> None:
    delivering = await Delivering().with_sinks(OPS)
    await delivering.raise_all("one")
    delivering.sender.fails = lambda *_: SinkFailed("429", retry_after_seconds=600)
    await delivering.run()
    delivering.clock.seconds += 599
    await delivering.run()
    assert len(delivering.sender.sent) == 1
    delivering.clock.seconds += 1
    await delivering.run()
    assert len(delivering.sender.sent) == 2


async def test_an_alert_that_no_sink_takes_does_not_hold_up_the_others() -> None:
    delivering = await Delivering().with_sinks(OPS)
    delivering.sender.fails = lambda _, events: REFUSED if events[0].event_id == "poison" else None
    await delivering.raise_all("poison", *(f"n{number}" for number in range(9)))
    assert (await delivering.run()).delivered == 9
    assert await delivering.backlog() == Backlog(1, 0)


async def test_of_a_refused_batch_each_alert_is_sent_alone() -> None:
    delivering = await Delivering().with_sinks(OPS, type_=SinkType.EVENT_GRID)
    delivering.sender.fails = lambda _, events: REFUSED if "b" in [each.event_id for each in events] else None
    await delivering.raise_all("a", "b", "c", "d")
    assert (await delivering.run()).delivered == 3
    assert delivering.sender.sent[0] == ("ops", ["a", "b", "c"])
    assert sorted(delivering.sender.sent[1:]) == [("ops", ["a"]), ("ops", ["b"]), ("ops", ["c"]), ("ops", ["d"])]
    (kept,) = (await delivering.deliveries.waiting(OPS, 10)).deliveries
    assert (kept.event.event_id, kept.attempts) == ("b", 1)


async def test_a_delivery_that_cannot_be_noted_makes_no_other_of_its_batch_be_sent_again() -> None:
    class Refusing(InMemoryDocuments):
        is_refusing = True

        async def commit(self, table: str, partition: str, writes: Sequence[Write]) -> list[str]:
            if self.is_refusing and any(write.key.startswith("~done|") and write.key.endswith("a") for write in writes):
                raise StorageUnavailable
            return await super().commit(table, partition, writes)

    documents = Refusing()
    delivering = await Delivering(documents=documents).with_sinks(OPS, type_=SinkType.EVENT_GRID)
    await delivering.raise_all("a", "b", "c")
    with pytest.raises(SweepFailed, match=r"1 failed\. alerts/sinks/ops: budget\.threshold:a: StorageUnavailable"):
        await delivering.run()
    documents.is_refusing = False
    delivering.clock.seconds += LEASE.total_seconds()
    await delivering.run()
    assert delivering.sender.sent == [("ops", ["a", "b", "c"]), ("ops", ["a"])]
    assert await delivering.backlog() == Backlog(0, 0)


async def test_a_delivery_that_cannot_be_begun_costs_no_other_of_its_batch_a_try() -> None:
    class Refusing(InMemoryDocuments):
        async def get(self, table: str, partition: str, key: str) -> Document | None:
            if key.startswith("~done|") and key.endswith("c"):
                raise StorageUnavailable
            return await super().get(table, partition, key)

    delivering = await Delivering(documents=Refusing()).with_sinks(OPS, type_=SinkType.EVENT_GRID)
    await delivering.raise_all("a", "b", "c")
    with pytest.raises(SweepFailed, match=r"1 failed\. alerts/sinks/ops: budget\.threshold:c: StorageUnavailable"):
        await delivering.run()
    assert delivering.sender.sent == [("ops", ["a", "b"])]


async def test_storage_that_refuses_slowly_does_not_hold_a_run_up_by_a_whole_batch() -> None:
    class Slow(InMemoryDocuments):
        async def get(self, table: str, partition: str, key: str) -> Document | None:
            if key.startswith("~done|"):
                delivering.clock.seconds += 25
                raise StorageUnavailable
            return await super().get(table, partition, key)

    delivering = await Delivering(documents=Slow()).with_sinks(OPS, type_=SinkType.EVENT_GRID)
    await delivering.raise_all("a", "b", "c")
    with pytest.raises(SweepFailed, match=r"2 failed\."):
        await delivering.run()
    assert delivering.sender.sent == []


async def test_a_batch_that_arrived_nowhere_is_not_split() -> None:
    delivering = await Delivering().with_sinks(OPS, type_=SinkType.EVENT_GRID)
    delivering.sender.fails = lambda *_: DOWN
    await delivering.raise_all("a", "b")
    await delivering.run()
    assert delivering.sender.sent == [("ops", ["a", "b"])]


async def test_a_sink_that_stalls_holds_up_no_other() -> None:
    delivering = await Delivering().with_sinks(OPS, ACME)
    gate = delivering.sender.gates["ops"] = asyncio.Event()
    await delivering.raise_all("one")
    running = asyncio.create_task(delivering.run())
    await eventually(lambda: ("hooks", ["one"]) in delivering.sender.sent)
    assert not running.done()
    gate.set()
    assert (await running).delivered == 2


async def test_a_sink_that_is_down_is_left_alone_after_a_few_failures(caplog: pytest.LogCaptureFixture) -> None:
    delivering = await Delivering().with_sinks(OPS)
    delivering.sender.fails = lambda *_: DOWN
    await delivering.raise_all(*(f"n{number:02}" for number in range(40)))
    await delivering.run()
    assert 3 <= len(delivering.sender.sent) <= 6
    assert await delivering.backlog() == Backlog(40, 0)
    (line,) = [each.getMessage() for each in caplog.records if "gateway.alert.undelivered" in each.getMessage()]
    assert '"error.message": "The sink answered 503."' in line
    delivering.sender.fails = lambda *_: None
    delivering.clock.seconds += 5
    assert (await delivering.run()).delivered == 40


async def test_what_waits_for_two_days_is_given_up() -> None:
    delivering = await Delivering().with_sinks(OPS)
    delivering.sender.fails = lambda *_: DOWN
    await delivering.raise_all(*(f"n{number:02}" for number in range(40)))
    await delivering.run()
    delivering.clock.seconds += timedelta(hours=49).total_seconds()
    await delivering.run()
    assert await delivering.backlog() == Backlog(0, 40)
    assert len(delivering.sender.sent) <= 6


async def test_many_deliveries_that_wait_for_a_dead_sink_delay_no_other() -> None:
    delivering = await Delivering().with_sinks(OPS, ACME)
    delivering.sender.fails = lambda sink, _: DOWN if sink.name == "ops" else None
    await delivering.raise_all(*(f"n{number:04}" for number in range(1100)))
    while await delivering.run() != Delivered(0, 0):
        pass
    assert await delivering.backlog(ACME) == Backlog(0, 0)
    assert await delivering.backlog() == Backlog(1100, 0)
    await delivering.raise_all("newest")
    assert (await delivering.run()).delivered == 1
    assert ("hooks", ["newest"]) in delivering.sender.sent


async def test_several_processes_at_once_deliver_each_alert_once() -> None:
    one = await Delivering().with_sinks(OPS, ACME)
    others = [Delivering(documents=one.documents, clock=one.clock, sender=one.sender) for _ in range(3)]
    await one.raise_all(*(f"n{number}" for number in range(30)))
    await asyncio.gather(*(each.run() for each in (one, *others)))
    assert sorted(one.sender.sent) == sorted(
        (name, [f"n{number}"]) for name in ("hooks", "ops") for number in range(30)
    )


async def test_a_process_that_dies_before_it_notes_a_delivery_leaves_it_to_the_next_one() -> None:
    delivering = await Delivering().with_sinks(OPS)
    gate = delivering.sender.gates["ops"] = asyncio.Event()
    await delivering.raise_all("one")
    dying = asyncio.create_task(delivering.run())
    await eventually(lambda: bool(delivering.sender.sent))
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    gate.set()
    assert (await delivering.run()).delivered == 0
    delivering.clock.seconds += LEASE.total_seconds()
    assert (await delivering.run()).delivered == 1
    assert [names for _, names in delivering.sender.sent] == [["one"], ["one"]]


async def test_a_clock_that_runs_ahead_takes_no_delivery_from_the_one_that_has_it() -> None:
    slow = await Delivering().with_sinks(OPS)
    gate = slow.sender.gates["ops"] = asyncio.Event()
    ahead = Delivering(documents=slow.documents, clock=ManualClock(NOW + timedelta(seconds=30)), sender=slow.sender)
    await slow.raise_all("one")
    running = asyncio.create_task(slow.run())
    await eventually(lambda: bool(slow.sender.sent))
    assert (await ahead.run()).delivered == 0
    gate.set()
    assert (await running).delivered == 1


async def test_the_line_of_an_alert_needs_no_sinks(caplog: pytest.LogCaptureFixture) -> None:
    class WithoutSinks(InMemoryDocuments):
        async def list(
            self,
            table: str,
            *,
            partition: str | None = None,
            after: str = "",
            before: str = "",
            limit: int | None = None,
        ) -> list[Document]:
            if table == "alertsinks":
                raise StorageUnavailable
            return await super().list(table, partition=partition, after=after, before=before, limit=limit)

    delivering = Delivering(documents=WithoutSinks())
    await delivering.raise_all("one")
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            await delivering.run()
    assert len(lines_of(caplog)) == 1
    assert [key.partition("=")[0] for key in await delivering.rows("budget.threshold")] == ["one"]


async def test_a_row_that_was_left_or_made_again_after_it_was_handed_on_is_not_told_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "tallygate")
    first = await Delivering().with_sinks(OPS)
    await first.raise_all("one")
    (row,) = await first.documents.list("alerts", before="~")
    await first.run()
    # A process that raised it looked before it was handed on, and wrote after that. Or one died before it deleted it.
    await first.documents.insert("alerts", row.partition, row.key, row.text)
    another = Delivering(documents=first.documents, clock=first.clock, sender=first.sender)
    await another.run()
    assert await first.documents.list("alerts", before="~") == []
    assert len(lines_of(caplog)) == 1
    assert (len(first.sender.sent), another.exports) == (1, [])


async def test_a_delivery_that_was_made_again_is_not_sent_again() -> None:
    delivering = await Delivering().with_sinks(OPS)
    await delivering.raise_all("one")
    await delivering.run()
    (stored,) = await delivering.outbox.of_owner("acme")
    await delivering.deliveries.add(OPS, stored, NOW)
    assert (await delivering.run()).delivered == 0
    assert len(delivering.sender.sent) == 1
    assert await delivering.backlog() == Backlog(0, 0)


async def test_rows_and_sinks_that_cannot_be_read_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    delivering = await Delivering().with_sinks(OPS)
    await delivering.documents.insert("alertsinks", "~platform", "damaged", "nonsense")
    await delivering.documents.insert("alerts", "a.kind", "damaged", "nonsense")
    await delivering.raise_all("one")
    assert await delivering.run() == Delivered(1, 1)
    lines = [each.getMessage() for each in caplog.records if "gateway.alert.damaged" in each.getMessage()]
    assert len(lines) == 2
    assert "a.kind/damaged" in lines[0]
    assert "~platform/damaged" in lines[1]


async def test_a_sink_that_is_put_again_gets_only_what_is_raised_from_then_on() -> None:
    delivering = await Delivering().with_sinks(OPS, ACME)
    delivering.sender.fails = lambda *_: DOWN
    await delivering.raise_all("waited")
    await delivering.run()
    await delivering.raise_all("was-not-fanned-out")
    delivering.clock.seconds += 1
    await delivering.put_again(OPS)
    assert await delivering.backlog() == Backlog(0, 0)
    await delivering.raise_all("new")
    delivering.sender.fails, delivering.sender.sent = lambda *_: None, []
    delivering.clock.seconds += 60
    assert (await delivering.run()).delivered == 4
    assert {names[0] for name, names in delivering.sender.sent if name == "ops"} == {"new"}
    assert len(delivering.sender.sent) == 4
    assert [key for key in await delivering.rows() if not key.startswith("~")] == []


async def test_a_sink_that_is_put_during_a_run_gets_what_is_raised_after_it() -> None:
    class Late(DocumentAlerts):
        """An outbox in which an alert appears while a run reads it, after a sink was put."""

        is_late = False

        async def raised(self, limit: int) -> tuple[Sequence[AlertEvent], Sequence[str]]:
            if not self.is_late:
                self.is_late = True
                await delivering.with_sinks(ACME)
                await delivering.raise_all("one")
            return await super().raised(limit)

    delivering = await Delivering().with_sinks(OPS)
    delivering.run._outbox = Late(delivering.documents)
    await delivering.run()
    assert sorted(delivering.sender.sent) == [("hooks", ["one"]), ("ops", ["one"])]


async def test_what_waits_for_a_removed_sink_is_not_told_as_given_up(caplog: pytest.LogCaptureFixture) -> None:
    delivering = await Delivering().with_sinks(OPS)
    delivering.sender.fails = lambda *_: DOWN
    await delivering.raise_all("waited")
    await delivering.run()
    delivering.clock.seconds += timedelta(days=3).total_seconds()
    await delivering.put_again(OPS)
    await delivering.run()
    assert await delivering.rows() == []
    assert "gateway.alert.dead" not in caplog.text


def damaged_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    found = [each.getMessage() for each in caplog.records]
    return [json.loads(each.partition(" ")[2]) for each in found if each.startswith("gateway.alert.damaged ")]


async def damages() -> dict[str, str]:
    """Return texts of deliveries that nobody can use, by the key under which each is stored."""
    sound = Delivering()
    for name in ("naive", "negative", "misplaced", "eventless"):
        await sound.deliveries.add(OPS, event(name), NOW)
    rows = {each.key: json.loads(each.text) for each in await sound.documents.list("alerts")}
    (naive,) = [key for key in rows if "naive" in key]
    (negative,) = [key for key in rows if "negative" in key]
    (misplaced,) = [key for key in rows if "misplaced" in key]
    (eventless,) = [key for key in rows if "eventless" in key]
    return {
        "a-foreign-row": "nonsense",
        naive: json.dumps(rows[naive] | {"due": "2026-11-22T12:00:00"}),
        negative: json.dumps(rows[negative] | {"attempts": -100}),
        "another-key": json.dumps(rows[misplaced]),
        eventless: json.dumps(rows[eventless] | {"event": "[]"}),
    }


async def test_damaged_deliveries_are_set_aside_told_once_and_stop_no_other(caplog: pytest.LogCaptureFixture) -> None:
    delivering, damaged = await Delivering().with_sinks(OPS), await damages()
    for key, text in damaged.items():
        await delivering.damage(key, text)
    await delivering.raise_all("sound")
    assert await delivering.backlog() == Backlog(0, 0, len(damaged))
    for _ in range(2):
        await delivering.run()
    assert delivering.sender.sent == [("ops", ["sound"])]
    assert await delivering.backlog() == Backlog(0, 0, len(damaged))
    assert sorted(await delivering.rows("~damaged||ops")) == sorted(damaged)
    assert [key for key in await delivering.rows() if not key.startswith("~done|")] == []
    lines = damaged_lines(caplog)
    assert {line["gateway.alert.sink"] for line in lines} == {"alerts/sinks/ops"}
    assert sorted(line["error.message"] for line in lines) == sorted(
        f"The delivery {key} cannot be read, and is set aside." for key in damaged
    )
    kept = await delivering.documents.get("alerts", "~damaged||ops", "a-foreign-row")
    assert kept is not None
    assert kept.text == "nonsense"


async def test_many_damaged_deliveries_keep_a_run_from_nothing() -> None:
    class Slow(InMemoryDocuments):
        async def put(self, table: str, partition: str, key: str, text: str) -> None:
            delivering.clock.seconds += 15
            await super().put(table, partition, key, text)

    documents = Slow()
    delivering = await Delivering(documents=documents).with_sinks(OPS)
    for number in range(7):
        await documents.insert("alerts", "~sink||ops", f"a-foreign-row-{number}", "nonsense")
    await delivering.raise_all("sound")
    began = delivering.clock.seconds
    assert (await delivering.run()).delivered == 1
    assert delivering.clock.seconds - began == 45
    while len(await delivering.rows("~damaged||ops")) < 7:
        await delivering.run()
    assert await delivering.backlog() == Backlog(0, 0, 7)


async def test_a_row_that_cannot_be_set_aside_stops_no_other_and_is_told_when_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Refusing(InMemoryDocuments):
        refused = "a-first"

        async def put(self, table: str, partition: str, key: str, text: str) -> None:
            if key == self.refused:
                raise StorageUnavailable
            await super().put(table, partition, key, text)

    documents = Refusing()
    delivering = await Delivering(documents=documents).with_sinks(OPS)
    for key in ("a-first", "a-second"):
        await documents.insert("alerts", "~sink||ops", key, "nonsense")
    await delivering.raise_all("sound")
    with pytest.raises(SweepFailed, match="alerts/sinks/ops: a-first: StorageUnavailable"):
        await delivering.run()
    assert delivering.sender.sent == [("ops", ["sound"])]
    assert ["a-second" in line["error.message"] for line in damaged_lines(caplog)] == [True]
    documents.refused = ""
    await delivering.run()
    assert ["a-first" in line["error.message"] for line in damaged_lines(caplog)] == [False, True]


async def test_a_process_that_dies_while_it_sets_a_row_aside_leaves_it_to_the_next_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    delivering = await Delivering().with_sinks(OPS)
    for partition in ("~sink||ops", "~damaged||ops"):  # the copy is written, and the row is not deleted yet
        await delivering.damage("a-foreign-row", partition=partition)
    assert await delivering.backlog() == Backlog(0, 0, 1)
    await delivering.run()
    assert await delivering.rows() == []
    assert len(damaged_lines(caplog)) == 1


async def test_of_two_processes_that_see_a_damaged_row_one_tells_it(caplog: pytest.LogCaptureFixture) -> None:
    delivering = await Delivering().with_sinks(OPS)
    await delivering.damage("a-foreign-row")
    page = await delivering.deliveries.waiting(OPS, 10)
    await delivering.run()
    assert not await delivering.deliveries.set_aside(page.damaged[0])
    assert len(damaged_lines(caplog)) == 1


async def test_a_row_that_another_process_changes_at_that_moment_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    class Changing(InMemoryDocuments):
        async def put(self, table: str, partition: str, key: str, text: str) -> None:
            await super().put(table, partition, key, text)
            if partition == "~damaged||ops":
                await self.remove(table, "~sink||ops", key)

    documents = Changing()
    delivering = await Delivering(documents=documents).with_sinks(OPS)
    await delivering.damage("a-foreign-row")
    await delivering.run()
    assert await delivering.rows() == []
    assert damaged_lines(caplog) == []


async def test_a_row_that_was_repaired_meanwhile_is_not_set_aside() -> None:
    delivering = await Delivering().with_sinks(OPS)
    await delivering.deliveries.add(OPS, event("one"), NOW)
    (key,) = await delivering.rows()
    sound = await delivering.documents.get("alerts", "~sink||ops", key)
    assert sound is not None
    await delivering.damage(key)
    page = await delivering.deliveries.waiting(OPS, 10)
    await delivering.damage(key, sound.text)
    assert not await delivering.deliveries.set_aside(page.damaged[0])
    assert (await delivering.run()).delivered == 1


async def test_a_refused_batch_of_slow_answers_does_not_outlast_its_lease() -> None:
    delivering = await Delivering().with_sinks(OPS, type_=SinkType.EVENT_GRID)
    await delivering.raise_all("a", "b", "c")

    def slow(*_: object) -> SinkFailed:
        delivering.clock.seconds += 25
        return REFUSED

    delivering.sender.fails = slow
    await delivering.run()
    assert delivering.sender.sent == [("ops", ["a", "b", "c"]), ("ops", ["a"])]
    page = await delivering.deliveries.waiting(OPS, 10)
    assert [(each.event.event_id, each.attempts) for each in page.deliveries] == [("a", 1), ("b", 0), ("c", 0)]
    delivering.sender.fails = lambda *_: None
    delivering.clock.seconds += 5
    assert (await delivering.run()).delivered == 3


async def test_sinks_that_stall_run_after_run_do_not_keep_a_run_from_the_rest() -> None:
    tenants = [f"t{number:02}" for number in range(40)]
    delivering = await Delivering().with_sinks(OPS, *(SinkId(each, each) for each in tenants))
    for name in tenants:
        await delivering.raise_all(*(f"{name}-{number}" for number in range(9)), tenant=name)

    def stall(sink: AlertSink, _: object) -> SinkFailed | None:
        delivering.clock.seconds += 10 if sink.tenant_id else 0
        return DOWN if sink.tenant_id else None

    delivering.sender.fails = stall
    for minute in range(15):
        delivering.clock.seconds = 60 * minute
        await delivering.run()
        assert "ops" in {name for name, _ in delivering.sender.sent}
    assert len({name for name, _ in delivering.sender.sent}) > 20


class Poisoned(DocumentAlerts):
    """An outbox that cannot hand on one event."""

    async def fan_out(self, event: AlertEvent, sinks: Sequence[SinkId], at: datetime) -> None:
        if event.event_id == "poison":
            raise StorageUnavailable
        await super().fan_out(event, sinks, at)


async def test_an_event_that_cannot_be_handed_on_stops_no_other() -> None:
    delivering = await Delivering().with_sinks(OPS)
    delivering.run._outbox = Poisoned(delivering.documents)
    await delivering.raise_all("a", "poison", "z")
    for _ in range(2):
        with pytest.raises(SweepFailed, match=r"budget\.threshold:poison: StorageUnavailable"):
            await delivering.run()
    assert sorted(delivering.sender.sent) == [("ops", ["a"]), ("ops", ["z"])]


class Slow(DocumentAlerts):
    """An outbox that needs five seconds to hand on an event."""

    clock: ManualClock

    async def fan_out(self, event: AlertEvent, sinks: Sequence[SinkId], at: datetime) -> None:
        self.clock.seconds += 5
        await super().fan_out(event, sinks, at)


async def test_many_new_events_leave_time_to_send_what_waits() -> None:
    delivering = await Delivering().with_sinks(OPS)
    outbox = delivering.run._outbox = Slow(delivering.documents)
    outbox.clock = delivering.clock
    await delivering.raise_all(*(f"n{number:02}" for number in range(20)))
    first = await delivering.run()
    assert first.fanned_out == first.delivered < 20
    while (await delivering.run()).fanned_out:
        pass
    assert len(delivering.sender.sent) == 20


class Failing(InMemoryDocuments):
    """Storage that refuses to read the deliveries of one sink, or to end any."""

    refused = ""

    async def list(
        self, table: str, *, partition: str | None = None, after: str = "", before: str = "", limit: int | None = None
    ) -> list[Document]:
        if partition is not None and self.refused and partition.endswith(self.refused):
            raise StorageUnavailable
        return await super().list(table, partition=partition, after=after, before=before, limit=limit)


async def test_storage_that_fails_for_one_sink_fails_the_run_at_its_end() -> None:
    documents = Failing()
    delivering = await Delivering(documents=documents).with_sinks(OPS, ACME)
    await delivering.raise_all("one")
    documents.refused = "|hooks"
    with pytest.raises(SweepFailed, match="tenants/acme/alerts/sinks/hooks: StorageUnavailable"):
        await delivering.run()
    assert delivering.sender.sent == [("ops", ["one"])]
    documents.refused = ""
    assert (await delivering.run()).delivered == 1


async def test_a_run_ends_after_its_slice_and_the_next_goes_on() -> None:
    delivering = await Delivering().with_sinks(OPS)
    await delivering.raise_all(*(f"n{number}" for number in range(20)))

    def slow(*_: object) -> None:
        delivering.clock.seconds += 15

    delivering.sender.fails = slow
    first = (await delivering.run()).delivered
    assert first < 20
    while (await delivering.run()).delivered:
        pass
    assert sorted(names for _, names in delivering.sender.sent) == sorted([f"n{number}"] for number in range(20))


async def test_events_that_a_run_does_not_reach_are_fanned_out_by_the_next_one() -> None:
    class Slow(DocumentAlerts):
        async def raised(self, limit: int) -> tuple[Sequence[AlertEvent], Sequence[str]]:
            delivering.clock.seconds += 15
            return await super().raised(1)

    delivering = await Delivering().with_sinks(OPS)
    delivering.run._outbox = Slow(delivering.documents)
    await delivering.raise_all("one", "two")
    assert [(await delivering.run()).fanned_out for _ in range(3)] == [1, 1, 0]


async def test_more_deliveries_than_a_page_holds_are_all_sent() -> None:
    delivering = await Delivering().with_sinks(OPS)
    await delivering.raise_all(*(f"n{number:04}" for number in range(501)))
    assert (await delivering.run()).delivered == 501


async def test_a_delivery_that_another_process_has_ended_is_not_given_up_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    delivering = await Delivering().with_sinks(OPS)
    await delivering.raise_all("one")
    await delivering.run()
    (stored,) = await delivering.outbox.of_owner("acme")
    await delivering.deliveries.add(OPS, stored, NOW)
    (delivery,) = (await delivering.deliveries.waiting(OPS, 10)).deliveries
    await delivering.deliveries.delivered(delivery, NOW)
    await EndDeliveries(delivering.deliveries, delivering.clock).give_up(delivery, "too late")
    assert "gateway.alert.dead" not in caplog.text
