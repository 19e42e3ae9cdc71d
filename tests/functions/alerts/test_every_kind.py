"""Each kind of alert is raised by requests and timers, and reaches a sink of each type with a link to what to do."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared import timers
from shared.domain.alerts.alert import AlertKind
from shared.domain.alerts.sink import SinkType
from shared.generated_secrets import generate_key_file
from tests.tools.alert_causes import CAUSES, Calendar, World
from tests.tools.alert_receivers import SIGNING_SECRET, Receiver, running_receiver
from tests.tools.entra import running_entra, settings_of
from tests.tools.stack import running_stack

RUNBOOK = "https://docs.example/runbook"
SECTIONS = re.findall(
    r"^## ([a-z-]+)$", (Path(__file__).parents[3] / "docs/guide/runbook.md").read_text(), re.MULTILINE
)
DATA = {
    AlertKind.BUDGET_THRESHOLD: {"unit": "usd", "threshold_percent": "100"},
    AlertKind.QUOTA_THRESHOLD: {"unit": "tokens", "threshold_percent": "50"},
    AlertKind.FORECAST_EXCEEDS_LIMIT: {"unit": "tokens"},
    AlertKind.KEY_EXPIRES_SOON: {"days": "30"},
    AlertKind.PERIOD_CLOSED: {"entries": "2"},  # the request, and the end of the month
}
"""Members of some events that these causes determine."""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


@pytest.fixture
async def world(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[World]:
    """A gateway whose platform has a sink of each type, and which signs anchors and accepts tokens."""
    host = receiver.url.partition("/hook")[0]
    addresses = {name: f"{host}/{name}" for name in ("webhook", "teams", "slack")}
    generate_key_file(tmp_path / "key.pem")
    async with running_entra(monkeypatch, tmp_path) as entra:
        settings = {
            **settings_of(entra),
            "TALLYGATE_STORAGE": "memory",
            "TRUSTED_PROXY_HOPS": "1",
            "AUDIT_SIGNING_KEY_FILE": str(tmp_path / "key.pem"),
            "ALERT_SECRETS": json.dumps({**addresses, "signing": SIGNING_SECRET}),
            "ALERT_RUNBOOK_URL": RUNBOOK,
            "ALERT_ANOMALY_FLOOR_USD": "0.0000001",
        }
        async with running_stack(monkeypatch, tmp_path, settings) as stack:
            for name in addresses:
                signing = {"signing_secret": "signing"} if name == SinkType.WEBHOOK else {}
                sink = {"type": name, "address_secret": name, **signing}
                await stack.manage("PUT", f"/manage/alerts/sinks/{name}", sink)
            topic = {"type": SinkType.EVENT_GRID, "endpoint": f"{host}/event_grid"}
            await stack.manage("PUT", "/manage/alerts/sinks/grid", topic)
            yield World(stack, Calendar(monkeypatch), entra)


def test_each_kind_has_a_cause() -> None:
    assert CAUSES.keys() == {*AlertKind}


@pytest.mark.parametrize("kind", AlertKind)
async def test_each_kind_is_raised_and_reaches_a_sink_of_each_type(
    kind: AlertKind, world: World, receiver: Receiver
) -> None:
    await CAUSES[kind](world)
    await world.stack.settled()
    await timers.deliver_alerts(past_due=False)
    (event, *_) = arrived(receiver, "webhook", kind)
    link = event["runbook"]
    assert link.removeprefix(f"{RUNBOOK}#") in SECTIONS
    assert {**event["data"], **DATA.get(kind, {})} == event["data"]
    assert event in [each for batch in arrived(receiver, "event_grid") for each in batch]
    for type_ in ("teams", "slack"):
        messages = [json.dumps(each) for each in arrived(receiver, type_)]
        assert any(f": {kind}" in each and event["subject"] in each and link in each for each in messages), messages
    assert {each.path.split("?")[0].strip("/") for each in receiver.arrivals} == {*SinkType}


def arrived(receiver: Receiver, path: str, kind: AlertKind | None = None) -> list[Any]:
    """Return the bodies that arrived at a path; of one kind, if it is stated."""
    bodies = [each.json for each in receiver.arrivals if each.path.split("?")[0] == f"/{path}"]
    return [each for each in bodies if kind is None or each["type"] == f"tallygate.{kind}"]
