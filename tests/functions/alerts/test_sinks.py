"""Sinks over the management API: who may configure them, what is refused, and the test that nobody waits for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from shared import timers
from shared.adapters.documents.store import key_of
from shared.domain.alerts.alert import AlertKind
from tests.tools.alert_receivers import SIGNING_SECRET, Receiver, alert_now, event, running_receiver
from tests.tools.events import waiting
from tests.tools.stack import ADMIN_KEY, Stack

SINKS = "/manage/alerts/sinks"
WEBHOOK = {"type": "webhook", "address_secret": "ops-address", "signing_secret": "ops-key"}
TEAMS = {"type": "teams", "address_secret": "ops-address", "kinds": ["budget.threshold"]}


def secrets_of(receiver: Receiver) -> str:
    return json.dumps({"ops-address": receiver.url, "ops-key": SIGNING_SECRET, "gone-address": "https://x.example/"})


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> Any:
    async with running_receiver() as running:
        monkeypatch.setenv("ALERT_SECRETS", secrets_of(running))
        yield running


async def test_a_sink_is_put_read_changed_and_removed(receiver: Receiver, stack: Stack) -> None:
    created = await stack.manage("PUT", f"{SINKS}/ops", WEBHOOK)
    assert created == {
        "name": "ops",
        "type": "webhook",
        "tenant_id": "",
        "endpoint": "",
        "address_secret": "ops-address",
        "signing_secret": "ops-key",
        "kinds": [],
        "minimum_severity": "info",
        "enabled": True,
        "created_at": created["created_at"],
        "source": "api",
        "waiting": 0,
        "dead": 0,
        "damaged": 0,
    }
    assert created["created_at"].endswith("Z")
    async with stack.session.get(f"{stack.url}{SINKS}/ops", headers={"api-key": ADMIN_KEY}) as response:
        etag = response.headers["ETag"]
    changed = await stack.manage("PUT", f"{SINKS}/ops", {**WEBHOOK, "enabled": False}, if_match=etag)
    assert not changed["enabled"]
    assert changed["created_at"] == created["created_at"]
    assert await stack.manage("PUT", f"{SINKS}/ops", {**WEBHOOK, "enabled": False}) == changed
    for method, body in (("PUT", WEBHOOK), ("DELETE", None)):
        refused = await stack.manage(method, f"{SINKS}/ops", body, if_match=etag, status=412)
        assert refused["error"]["code"] == "version_conflict"
    await stack.manage("PUT", f"{SINKS}/new", WEBHOOK, if_match=etag, status=412)
    assert [each["name"] for each in (await stack.manage("GET", SINKS))["data"]] == ["ops"]
    await stack.manage("DELETE", f"{SINKS}/ops")
    for method in ("GET", "DELETE"):
        await stack.manage(method, f"{SINKS}/ops", status=404)
    events = await waiting((await stack.gateway()).alerts.outbox._documents)  # type: ignore[attr-defined]
    assert [each["action"] for each in events if each["action"].startswith("sink.")] == [
        "sink.put",
        "sink.put",
        "sink.remove",
    ]
    assert "SECRET" not in json.dumps(events)


@pytest.mark.parametrize(
    ("definition", "param"),
    [
        ({"type": "webhook", "address_secret": "ops-address"}, "signing_secret"),
        ({"type": "webhook", "signing_secret": "ops-key"}, "address_secret"),
        ({"type": "slack", "address_secret": "ops-address", "signing_secret": "ops-key"}, "signing_secret"),
        ({"type": "slack", "address_secret": "ops-address", "endpoint": "https://x.example/"}, "endpoint"),
        ({"type": "event_grid"}, "endpoint"),
        ({"type": "event_grid", "endpoint": "https://evil.example/api/events"}, "endpoint"),
        ({"type": "teams", "address_secret": "gone-address"}, "address_secret"),
        ({"type": "teams", "address_secret": "unknown"}, None),
        ({"type": "webhook", "address_secret": "ops-address", "signing_secret": "gone-address"}, "signing_secret"),
        ({**WEBHOOK, "kinds": ["no.such.kind"]}, "kinds.0"),
        ({**WEBHOOK, "address_secret": "ADMIN_API_KEY"}, "address_secret"),
        ({**WEBHOOK, "type": "pager"}, "type"),
        ({**WEBHOOK, "color": "red"}, "color"),
    ],
)
async def test_a_sink_that_cannot_work_is_refused(
    receiver: Receiver, stack: Stack, definition: dict[str, Any], param: str | None
) -> None:
    refused = await stack.manage("PUT", f"{SINKS}/ops", definition, status=400)
    assert refused["error"]["param"] == param
    assert "x.example" not in json.dumps(refused)


async def test_names_of_sinks_are_plain(receiver: Receiver, stack: Stack) -> None:
    for name in ("Ops", "-ops", "a" * 41, "a%2Fb", "%7Esink"):
        await stack.manage("PUT", f"{SINKS}/{name}", WEBHOOK, status=400)


async def test_an_owner_has_twenty_sinks_at_most(receiver: Receiver, stack: Stack) -> None:
    for number in range(20):
        await stack.manage("PUT", f"{SINKS}/s{number}", TEAMS)
    await stack.manage("PUT", f"{SINKS}/s20", TEAMS, status=400)
    await stack.manage("PUT", f"{SINKS}/s0", WEBHOOK)


async def test_a_tenant_gets_its_own_alerts_and_sees_no_other(receiver: Receiver, stack: Stack) -> None:
    other_key = await stack.register("other")
    path = f"/manage/tenants/{stack.tenant}/alerts/sinks"
    await stack.manage("PUT", f"{path}/ops", TEAMS)
    await stack.manage("PUT", "/manage/tenants/nobody/alerts/sinks/ops", TEAMS, status=404)
    await stack.manage("GET", "/manage/tenants/nobody/alerts/sinks", status=404)
    gateway = await stack.gateway()
    assert await gateway.alerts.store(alert_now("mine", tenant=stack.tenant))
    assert await gateway.alerts.store(alert_now("filtered", AlertKind.KEY_EXPIRES_SOON, stack.tenant))
    assert await gateway.alerts.store(alert_now("other", tenant="other"))
    assert await gateway.alerts.store(alert_now("platform", AlertKind.POOL_DOWN, ""))
    await timers.deliver_alerts(past_due=False)
    assert [json.loads(each.body)["type"] for each in receiver.arrivals] == ["message"]
    for key, names in ((stack.key, {"mine", "filtered"}), (other_key, {"other"})):
        async with stack.session.get(f"{stack.url}/me/alerts", headers={"api-key": key}) as response:
            assert {each["id"] for each in (await response.json())["data"]} == names
    listed = await stack.manage("GET", f"/manage/tenants/{stack.tenant}/alerts?limit=1")
    assert len(listed["data"]) == 1
    assert [each["id"] for each in (await stack.manage("GET", "/manage/alerts"))["data"]] == ["platform"]
    await stack.manage("GET", "/manage/alerts?cursor=x", status=400)
    assert (await stack.manage("GET", f"{path}/ops"))["tenant_id"] == stack.tenant
    assert [each["name"] for each in (await stack.manage("GET", path))["data"]] == ["ops"]
    await stack.manage("DELETE", f"{path}/ops")


async def test_an_alert_is_listed_as_soon_as_it_is_raised(stack: Stack) -> None:
    other_key = await stack.register("other")
    gateway = await stack.gateway()
    for name, tenant in (("mine", stack.tenant), ("other", "other"), ("platform", "")):
        assert await gateway.alerts.store(alert_now(name, tenant=tenant))
    for _ in range(2):
        for key, name in ((stack.key, "mine"), (other_key, "other")):
            async with stack.session.get(f"{stack.url}/me/alerts", headers={"api-key": key}) as response:
                assert [each["id"] for each in (await response.json())["data"]] == [name]
        listed = await stack.manage("GET", f"/manage/tenants/{stack.tenant}/alerts")
        assert [each["id"] for each in listed["data"]] == ["mine"]
        assert [each["id"] for each in (await stack.manage("GET", "/manage/alerts"))["data"]] == ["platform"]
        await timers.deliver_alerts(past_due=False)


async def test_a_test_tells_at_once_which_sink_took_it(
    receiver: Receiver, stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await stack.manage("PUT", f"{SINKS}/ops", WEBHOOK)
    await stack.manage("PUT", f"{SINKS}/off", {**TEAMS, "enabled": False})
    tested = await stack.manage("POST", "/manage/alerts/test", {})
    (result,) = tested["sinks"]
    assert (tested["delivered"], result["sink"], result["delivered"], result["reason"]) == (True, "ops", True, None)
    (arrival,) = receiver.arrivals
    assert arrival.json["type"] == "tallygate.alerts.test"
    assert arrival.json["severity"] == "info"
    receiver.answering(500)
    failed = await stack.manage("POST", "/manage/alerts/test", {"sink": "off"})
    assert [(each["sink"], each["reason"]) for each in failed["sinks"]] == [("off", "The sink answered 500.")]
    assert not failed["delivered"]
    await timers.deliver_alerts(past_due=False)
    assert len(receiver.arrivals) == 2
    assert '"gateway.alert.kind": "alerts.test"' in caplog.text
    assert "SECRET" not in caplog.text + json.dumps(failed)
    await stack.manage("POST", "/manage/alerts/test", {"sink": "unknown"}, status=404)
    await stack.manage("POST", "/manage/alerts/test", {"tenant_id": "unknown"}, status=404)
    of_tenant = await stack.manage("POST", "/manage/alerts/test", {"tenant_id": stack.tenant})
    assert of_tenant == {"delivered": True, "sinks": []}


async def test_what_was_given_up_is_sent_again_when_an_operator_asks(receiver: Receiver, stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}/alerts/sinks/ops"
    for sink in (f"{SINKS}/ops", path):
        await stack.manage("PUT", sink, WEBHOOK)
    assert await (await stack.gateway()).alerts.store(alert_now("one", tenant=stack.tenant))
    receiver.answering(410)
    await timers.deliver_alerts(past_due=False)
    assert (await stack.manage("GET", path))["dead"] == 1
    receiver.answer = None
    for sink in (f"{SINKS}/ops", path):
        assert await stack.manage("POST", f"{sink}/redeliver") == {"redelivered": 1}
    await timers.deliver_alerts(past_due=False)
    assert receiver.ids == ["one"] * 4
    assert (await stack.manage("GET", path))["dead"] == 0
    await stack.manage("POST", f"{SINKS}/unknown/redeliver", status=404)


async def test_a_sink_that_is_put_again_has_nothing_of_the_one_before(receiver: Receiver, stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}/alerts/sinks/ops"
    await stack.manage("PUT", path, WEBHOOK)
    gateway = await stack.gateway()
    assert await gateway.alerts.store(alert_now("dead", tenant=stack.tenant))
    receiver.answering(410)
    await timers.deliver_alerts(past_due=False)
    assert await gateway.alerts.store(alert_now("waits", tenant=stack.tenant))
    receiver.answering(500)
    await timers.deliver_alerts(past_due=False)
    first = await stack.manage("GET", path)
    assert (first["waiting"], first["dead"]) == (1, 1)
    await stack.manage("DELETE", path)
    second = await stack.manage("PUT", path, WEBHOOK)
    assert (second["waiting"], second["dead"]) == (0, 0)
    assert second["created_at"] > first["created_at"]
    assert await stack.manage("POST", f"{path}/redeliver") == {"redelivered": 0}
    assert await gateway.alerts.store(alert_now("new", tenant=stack.tenant))
    receiver.answer, receiver.arrivals = None, []
    await timers.deliver_alerts(past_due=False)
    assert receiver.ids == ["new"]


async def test_a_sink_of_an_earlier_version_gets_what_waits_for_it_also_after_a_change(
    receiver: Receiver, stack: Stack
) -> None:
    documents = (await stack.gateway()).alerts.outbox._documents  # type: ignore[attr-defined]
    earlier = {
        "name": "ops",
        "type": "webhook",
        "tenant_id": "",
        "endpoint": "",
        "address_secret": "ops-address",
        "signing_secret": "ops-key",
        "kinds": [],
        "minimum_severity": "info",
        "enabled": True,
    }
    await documents.insert("alertsinks", "~platform", "ops", json.dumps(earlier))
    waits = event("waits", at=datetime.now(UTC))
    row = {
        "event": waits.document,
        "attempts": 1,
        "due": waits.at,
        "stored_at": waits.at,
        "ended_at": None,
        "reason": "",
    }
    await documents.insert("alerts", "~sink||ops", key_of(waits.name), json.dumps(row))
    changed = await stack.manage("PUT", f"{SINKS}/ops", {**WEBHOOK, "minimum_severity": "warning"})
    assert (changed["created_at"], changed["waiting"]) == (None, 1)
    await timers.deliver_alerts(past_due=False)
    assert receiver.ids == ["waits"]


async def test_damaged_deliveries_are_shown_and_do_not_wait(receiver: Receiver, stack: Stack) -> None:
    await stack.manage("PUT", f"{SINKS}/ops", WEBHOOK)
    documents = (await stack.gateway()).alerts.outbox._documents  # type: ignore[attr-defined]
    await documents.insert("alerts", "~sink||ops", "a-foreign-row", "nonsense")
    for _ in range(2):
        found = await stack.manage("GET", f"{SINKS}/ops")
        assert (found["waiting"], found["damaged"]) == (0, 1)
        (of_status,) = (await stack.manage("GET", "/manage/status"))["outbox"]
        assert of_status == {"sink": "ops", "waiting": 0, "dead": 0, "damaged": 1}
        await timers.deliver_alerts(past_due=False)


@pytest.mark.parametrize(
    "stack_settings",
    [{"ALERT_EVENT_GRID_ENDPOINT": "https://t.westeurope-1.eventgrid.azure.net/api/events"}],
    indirect=True,
)
async def test_the_settings_define_a_sink_that_nobody_changes(receiver: Receiver, stack: Stack) -> None:
    (sink,) = (await stack.manage("GET", SINKS))["data"]
    assert (sink["name"], sink["type"], sink["source"]) == ("settings", "event_grid", "settings")
    assert await stack.manage("GET", f"{SINKS}/settings") == sink
    await stack.manage("PUT", f"{SINKS}/settings", WEBHOOK, status=400)
    await stack.manage("DELETE", f"{SINKS}/settings", status=400)


async def test_only_administrators_configure_sinks(receiver: Receiver, stack: Stack) -> None:
    for method, path in (("GET", SINKS), ("PUT", f"{SINKS}/ops"), ("POST", "/manage/alerts/test")):
        async with stack.session.request(method, f"{stack.url}{path}", headers={"api-key": stack.key}) as response:
            assert response.status == 403


def test_events_have_a_name_that_is_unique_among_kinds() -> None:
    assert event().name != event(kind=AlertKind.POOL_DOWN).name
