"""Alerts that timers see at every run: told once, and again only above every limit under which they were told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from shared.adapters.documents.alerts import DocumentAlerts
from shared.adapters.documents.store import Document, key_of
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.alerts.raise_once import RaiseOnce
from shared.application.alerts.store_alert import StoreAlert
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.errors import StorageUnavailable
from tests.tools.alert_receivers import alert
from tests.tools.ledgers import NOW

NAME = "acme:2026-11:usd:80"


class Telling:
    """Processes that see one threshold under changing limits, over one storage."""

    def __init__(self) -> None:
        self.documents = InMemoryDocuments()
        self.outbox = DocumentAlerts(self.documents)
        self.raise_once = self.process()

    def process(self) -> RaiseOnce:
        return RaiseOnce(StoreAlert(self.outbox), self.outbox)

    def restart(self) -> None:
        self.raise_once = self.process()

    async def under(self, *limits: str, after_each: Callable[[], object] = lambda: None) -> list[str]:
        """Return the limits under which the threshold was told."""
        told = []
        for limit in limits:
            told += [limit] if await self.raise_once(alert(NAME, limit=limit)) else []
            after_each()
        return told

    async def hand_on(self) -> list[str]:
        """Move what waits to the log. Returns the ids."""
        events, _ = await self.outbox.raised(100)
        for each in events:
            await self.outbox.fan_out(each, [], NOW)
        return [each.event_id for each in events]


SEQUENCES = [
    (["100", "300", "250"], ["100", "300"]),
    (["100", "300", "100", "300"], ["100", "300"]),
    (["300", "250", "300", "400", "350", "500"], ["300", "400", "500"]),
    (["9", "10", "9.5", "10.00"], ["9", "10"]),
    (["0", "100"], ["0", "100"]),
]


@pytest.mark.parametrize(("limits", "expected"), SEQUENCES)
async def test_it_is_told_again_only_above_every_limit_under_which_it_was_told(
    limits: list[str], expected: list[str]
) -> None:
    assert await Telling().under(*limits) == expected


@pytest.mark.parametrize(("limits", "expected"), SEQUENCES)
async def test_processes_that_remember_nothing_find_out(limits: list[str], expected: list[str]) -> None:
    telling = Telling()
    assert await telling.under(*limits, after_each=telling.restart) == expected
    assert await telling.under(*limits, after_each=telling.restart) == []


@pytest.mark.parametrize(("limits", "expected"), SEQUENCES)
async def test_alerts_that_were_handed_on_count(limits: list[str], expected: list[str]) -> None:
    telling, told = Telling(), []
    for limit in limits:
        telling.restart()
        told += await telling.under(limit)
        await telling.hand_on()
    assert told == expected


async def test_the_id_names_the_limit_that_was_exceeded() -> None:
    telling = Telling()
    await telling.under("100", "300", "250", "400")
    assert await telling.hand_on() == [NAME, f"{NAME}:above:100", f"{NAME}:above:300"]


@pytest.mark.parametrize("is_handed_on", [False, True])
async def test_rows_of_the_earlier_version_count(is_handed_on: bool) -> None:
    telling = Telling()
    for name, limit in ((NAME, "100"), (f"{NAME}:300", "300"), (f"{NAME}:200", "200")):
        assert await telling.outbox.add(alert(name, limit=limit))
    if is_handed_on:
        await telling.hand_on()
    assert await telling.under("250", "300", "100", "200") == []
    assert await telling.under("400", "350") == ["400"]
    assert f"{NAME}:above:300" in await telling.hand_on()


async def test_other_thresholds_tenants_and_kinds_do_not_count() -> None:
    telling = Telling()
    for name in ("acme:2026-11:usd:8", "acme:2026-11:usd:800", "acme:2026-11:usd:80;9", "acme-2:2026-11:usd:80"):
        assert await telling.outbox.add(alert(name, limit="500"))
    assert await telling.outbox.add(alert(NAME, AlertKind.FORECAST_EXCEEDS_LIMIT, limit="500"))
    assert await telling.under("100", "300") == ["100", "300"]


async def test_two_processes_at_once_tell_ascending_limits_whoever_is_faster() -> None:
    """Another process tells a limit just before this one does. Then this one looks again."""

    class Overtaken(DocumentAlerts):
        async def add(self, raised: Alert) -> bool:
            if overtaking:
                assert await StoreAlert(telling.outbox)(overtaking.pop(0))
            return await super().add(raised)

    for faster, slower, expected in (("300", "250", False), ("250", "300", True), ("300", "300", False)):
        telling, overtaking = Telling(), []
        outbox = Overtaken(telling.documents)
        slow = RaiseOnce(StoreAlert(outbox), outbox)
        await telling.under("100")
        assert not await slow(alert(NAME, limit="100"))
        overtaking = [alert(f"{NAME}:above:100", limit=faster)]
        assert await slow(alert(NAME, limit=slower)) is expected
        events, _ = await telling.outbox.raised(100)
        limits = sorted(int(each.data["limit"]) for each in events)
        assert limits == sorted({100, int(faster), *([int(slower)] if expected else [])})


async def test_a_first_alert_of_another_process_counts() -> None:
    telling, other = Telling(), Telling()
    other.documents, other.outbox = telling.documents, telling.outbox
    other.restart()
    assert await telling.under("300") == ["300"]
    assert await other.under("250", "300") == []


def log_key(name: str) -> str:
    return key_of(f"budget.threshold:{name}")


@pytest.mark.parametrize("damage", ["nonsense", '{"id": "x"}'])
async def test_a_damaged_row_is_taken_as_told(damage: str) -> None:
    for damaged, expected in (([NAME], ["400"]), ([f"{NAME}:above:100"], []), ([NAME, f"{NAME}:above:100"], [])):
        telling = Telling()
        await telling.under("100", "300")
        await telling.hand_on()
        for name in damaged:
            await telling.documents.put("alertlog", "acme", log_key(name), damage)
        telling.restart()
        assert await telling.under("200", "400") == expected


def with_limits(*texts: str) -> Sequence[tuple[str, str]]:
    return [(NAME if not number else f"{NAME}:{number}", text) for number, text in enumerate(texts)]


@pytest.mark.parametrize("text", ["many", "NaN", "sNaN", "", "-1E+999999"])
async def test_a_limit_that_is_no_number_is_above_all(text: str) -> None:
    telling = Telling()
    for name, limit in with_limits("100", text):
        assert await telling.outbox.add(alert(name, limit=limit))
    assert await telling.under("400") == []


async def test_an_alert_without_a_limit_is_told_once() -> None:
    telling = Telling()
    assert await telling.raise_once(alert(NAME))
    telling.restart()
    assert not await telling.raise_once(alert(NAME))
    assert await telling.under("400") == []


async def test_what_a_process_knows_costs_no_request() -> None:
    class Silent(InMemoryDocuments):
        async def get(self, table: str, partition: str, key: str) -> Document | None:
            raise StorageUnavailable

    telling = Telling()
    await telling.under("100", "300")
    telling.raise_once._store = StoreAlert(DocumentAlerts(Silent()))
    assert await telling.under("300", "250", "100") == []
    with pytest.raises(StorageUnavailable):
        await telling.under("400")
