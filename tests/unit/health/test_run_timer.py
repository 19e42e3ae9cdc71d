"""Each run of a timer is one line of the log and one note; its errors reach the host."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import pytest

from shared.adapters.documents.health import DocumentStates
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.monitor.silent import SilentTelemetry
from shared.application.health.run_timer import RunTimer
from shared.domain.errors import LedgerUnavailable, StorageUnavailable
from shared.domain.health.timer_run import TimerRun
from tests.tools.ledgers import ManualClock


class Silent(InMemoryDocuments):
    """Storage that cannot be reached."""

    async def put(self, table: str, partition: str, key: str, text: str) -> None:
        raise StorageUnavailable


def states(documents: InMemoryDocuments) -> DocumentStates[TimerRun]:
    return DocumentStates(documents, "timers", TimerRun)


async def expired(count: int = 0) -> Mapping[str, int]:
    return {"reservations_expired": count}


async def failing() -> Mapping[str, int]:
    raise LedgerUnavailable


async def test_a_run_is_noted_with_its_counts() -> None:
    runs, clock = states(InMemoryDocuments()), ManualClock()
    await RunTimer(runs, clock, "i-1", SilentTelemetry())("expire_reservations", expired, past_due=False)
    run = await runs.get("expire_reservations")
    assert run is not None
    assert (run.counts, run.error, run.instance) == ({"reservations_expired": 0}, "", "i-1")
    assert run.first_at == run.succeeded_at == run.started_at == clock.now()


async def test_a_failed_run_is_counted_until_one_succeeds() -> None:
    runs, clock = states(InMemoryDocuments()), ManualClock()
    run_timer = RunTimer(runs, clock, "i-1", SilentTelemetry())
    began = clock.now()
    for work in (expired, failing, failing):
        try:
            await run_timer("t", work, past_due=False)
        except LedgerUnavailable:
            continue
        finally:
            clock.seconds += 60
    run = (await runs.all())["t"]
    assert (run.failures, run.error, run.first_at, run.succeeded_at) == (2, "LedgerUnavailable", began, began)
    await run_timer("t", expired, past_due=False)
    run = (await runs.all())["t"]
    assert (run.failures, run.error, run.first_at, run.succeeded_at) == (0, "", began, clock.now())


async def test_a_timer_that_never_succeeded_has_no_time_of_success() -> None:
    runs = states(InMemoryDocuments())
    with pytest.raises(LedgerUnavailable):
        await RunTimer(runs, ManualClock(), "i-1", SilentTelemetry())("t", failing, past_due=True)
    run = (await runs.all())["t"]
    assert (run.failures, run.succeeded_at) == (1, None)


async def test_one_line_tells_each_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run_timer = RunTimer(states(InMemoryDocuments()), ManualClock(), "i-1", SilentTelemetry())
    await run_timer("t", expired, past_due=True)
    await run_timer("t", lambda: expired(2), past_due=False)
    with pytest.raises(LedgerUnavailable):
        await run_timer("t", failing, past_due=False)
    told = [(each.levelname, vars(each)["event.name"], vars(each)["gateway.timer.past_due"]) for each in caplog.records]
    assert told == [
        ("INFO", "gateway.timer.finished", "true"),
        ("WARNING", "gateway.timer.finished", "false"),
        ("ERROR", "gateway.timer.failed", "false"),
    ]
    assert vars(caplog.records[1])["gateway.timer.count.reservations_expired"] == 2


class Flushed(SilentTelemetry):
    """Counts the exports."""

    flushes = 0

    async def flush(self) -> None:
        self.flushes += 1


@pytest.mark.parametrize("work", [expired, failing])
async def test_telemetry_is_exported_after_each_run(work: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
    telemetry = Flushed()
    with suppress(LedgerUnavailable):
        await RunTimer(states(InMemoryDocuments()), ManualClock(), "i-1", telemetry)("t", work, past_due=False)
    assert telemetry.flushes == 1


async def test_a_run_that_cannot_be_noted_is_done_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    await RunTimer(states(Silent()), ManualClock(), "i-1", SilentTelemetry())("t", expired, past_due=False)
    assert "gateway.timer.not_noted" in caplog.text


async def test_a_note_that_somebody_edited_is_replaced() -> None:
    documents = InMemoryDocuments()
    runs = states(documents)
    await documents.put("health", "timers", "t", "{}")
    assert (await runs.get("t"), await runs.all()) == (None, {})
    await RunTimer(runs, ManualClock(), "i-1", SilentTelemetry())("t", expired, past_due=False)
    assert [*await runs.all()] == ["t"]
    await runs.forget("t")
    await runs.forget("t")
    assert await runs.get("t") is None
