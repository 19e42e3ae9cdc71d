"""Sinks of every type over real sockets: sound ones, and those that stall, refuse, redirect, flood and hang up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from shared.adapters.in_memory.secrets import StatedSecrets
from shared.adapters.notifications.addresses import AddressRules
from shared.adapters.notifications.sender import HttpAlertSender
from shared.application.ports.alerts import SinkFailed
from shared.domain.alerts.sink import AlertSink, SinkType
from shared.domain.errors import InvalidRequest, StorageUnavailable
from tests.tools.alert_receivers import SIGNING_SECRET, Receiver, event, running_receiver
from tests.tools.ledgers import ManualClock
from tests.tools.stack import free_port

WEBHOOK = AlertSink(name="ops", type=SinkType.WEBHOOK, address_secret="address", signing_secret="key")
RULES = AddressRules(host_suffixes=(".example.com",), topic_suffixes=(".eventgrid.azure.net",), allow_loopback=True)


class Tokens:
    """An identity that gives a token for each scope, or none."""

    def __init__(self) -> None:
        self.is_down = False

    async def token(self, scope: str, authority: str = "") -> str:
        if self.is_down:
            raise StorageUnavailable("The gateway could not obtain an access token of its identity.")
        return f"token-for-{scope}"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


def sender_to(
    url: str,
    *,
    seconds: float = 20,
    rules: AddressRules = RULES,
    tokens: Tokens | None = None,
    key: str = SIGNING_SECRET,
    clock: ManualClock | None = None,
) -> HttpAlertSender:
    stated, clock = StatedSecrets({"address": url, "key": key}), clock or ManualClock()
    return HttpAlertSender(stated, tokens or Tokens(), clock, rules, "https://docs.example/runbook", seconds)


async def failure_of(sender: HttpAlertSender, sink: AlertSink = WEBHOOK) -> SinkFailed:
    with pytest.raises(SinkFailed) as failed:
        await sender.send(sink, [event()])
    assert "SECRET" not in str(failed.value)
    assert "127.0.0.1" not in str(failed.value)
    assert failed.value.__cause__ is None
    return failed.value


async def test_a_webhook_gets_a_signed_event(receiver: Receiver) -> None:
    await sender_to(receiver.url, clock=ManualClock(datetime.now(UTC))).send(
        WEBHOOK, [event("acme:2026-11:usd:80", threshold="80")]
    )
    (arrival,) = receiver.arrivals
    assert arrival.path == "/hook?sig=SECRET-SIGNATURE"
    assert arrival.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    verified = Webhook(SIGNING_SECRET).verify(arrival.body.decode(), arrival.headers)
    assert (
        verified
        == arrival.json
        == {
            "specversion": "1.0",
            "id": "acme:2026-11:usd:80",
            "source": "/tallygate",
            "type": "tallygate.budget.threshold",
            "subject": "tenants/acme",
            "time": "2026-11-22T12:00:00.000Z",
            "datacontenttype": "application/json",
            "severity": "warning",
            "tenantid": "acme",
            "data": {"threshold": "80"},
            "runbook": "https://docs.example/runbook#budget-threshold",
        }
    )


async def test_a_topic_of_event_grid_gets_one_batch_with_the_token_of_the_gateway(receiver: Receiver) -> None:
    topic = AlertSink(name="grid", type=SinkType.EVENT_GRID, endpoint=receiver.url.partition("?")[0])
    sender = sender_to("")
    assert (sender.batch_size(topic), sender.batch_size(WEBHOOK)) == (50, 1)
    await sender.check(topic)
    await sender.send(topic, [event("one"), event("two")])
    (arrival,) = receiver.arrivals
    assert arrival.path == "/hook?api-version=2018-01-01"
    assert arrival.headers["content-type"] == "application/cloudevents-batch+json; charset=utf-8"
    assert arrival.headers["authorization"] == "Bearer token-for-https://eventgrid.azure.net/.default"
    assert [each["id"] for each in arrival.json] == ["one", "two"]
    stated = AlertSink(name="grid", type=SinkType.EVENT_GRID, endpoint=f"{receiver.url}&api-version=2023-11-01")
    await sender.send(stated, [event()])
    assert receiver.arrivals[1].path.endswith("api-version=2023-11-01")


async def test_without_a_token_nothing_is_sent(receiver: Receiver) -> None:
    topic, tokens = AlertSink(name="grid", type=SinkType.EVENT_GRID, endpoint=receiver.url), Tokens()
    tokens.is_down = True
    failure = await failure_of(sender_to("", tokens=tokens), topic)
    assert str(failure) == "The gateway could not obtain an access token of its identity."
    assert receiver.arrivals == []


@pytest.mark.parametrize(("type_", "member"), [(SinkType.TEAMS, "attachments"), (SinkType.SLACK, "blocks")])
async def test_people_get_a_message_without_a_signature(receiver: Receiver, type_: SinkType, member: str) -> None:
    sink = AlertSink(name="ops", type=type_, address_secret="address")
    sender = sender_to(receiver.url)
    await sender.check(sink)
    await sender.send(sink, [event()])
    (arrival,) = receiver.arrivals
    assert arrival.headers["content-type"] == "application/json"
    assert "webhook-signature" not in arrival.headers
    assert arrival.json[member]


async def test_a_webhook_is_called_over_tls() -> None:
    async with running_receiver(tls=True) as receiver:
        await sender_to(receiver.url).send(WEBHOOK, [event()])
        assert len(receiver.arrivals) == 1


@pytest.mark.parametrize(
    ("status", "is_final", "is_reachable"),
    [
        (301, False, True), (302, False, True), (308, False, True), (400, False, True), (401, False, False),
        (404, False, False), (410, True, True), (413, False, True), (429, False, False), (500, False, False),
        (503, False, False),
    ],
)  # fmt: skip
async def test_any_answer_but_success_is_a_failure(
    receiver: Receiver, status: int, is_final: bool, is_reachable: bool
) -> None:
    receiver.answering(status, {"location": f"{receiver.url}/elsewhere"})
    failure = await failure_of(sender_to(receiver.url))
    assert str(failure) == f"The sink answered {status}."
    assert (failure.is_final, failure.is_reachable, failure.retry_after_seconds) == (is_final, is_reachable, 0)
    assert len(receiver.arrivals) == 1


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("120", 120),
        ("99999999999999", 999_999_999),
        ("Sun, 22 Nov 2026 12:01:00 GMT", 60),
        ("Sun, 22 Nov 2026 12:01:00 -0000", 60),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0),
        ("soon", 0),
        ("Sun, 22 Nov 2026 12:01:00 +99999999999999999999", 0),
        ("-5", 0),
        ("\u0663", 0),
    ],
)
async def test_the_wait_that_a_sink_asks_for_is_told(receiver: Receiver, retry_after: str, seconds: float) -> None:
    receiver.answering(429, {"retry-after": retry_after})
    assert (await failure_of(sender_to(receiver.url))).retry_after_seconds == seconds


async def test_a_sink_that_stalls_is_given_up_in_time(receiver: Receiver) -> None:
    stalled = asyncio.Event()

    async def stall(_: web.Request) -> web.Response:
        await stalled.wait()
        return web.Response()

    receiver.answer = stall
    failure = await failure_of(sender_to(receiver.url, seconds=0.3))
    assert (str(failure), failure.is_reachable) == ("The sink did not answer in time.", False)
    stalled.set()


async def test_a_flood_of_an_answer_is_not_read(receiver: Receiver) -> None:
    ended = asyncio.Event()

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        finally:
            ended.set()

    receiver.answer = flood
    await sender_to(receiver.url).send(WEBHOOK, [event()])
    await ended.wait()


async def test_a_sink_that_hangs_up_and_one_that_is_not_there_cannot_be_reached(receiver: Receiver) -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    receiver.answer = hang_up
    for url in (receiver.url, f"http://127.0.0.1:{free_port()}/SECRET"):
        failure = await failure_of(sender_to(url))
        assert str(failure).startswith("The sink cannot be reached: ")
        assert not failure.is_reachable


async def test_an_answer_with_endless_headers_is_a_failure(receiver: Receiver) -> None:
    receiver.answering(200, {"x-long": "x" * 100_000})
    assert not (await failure_of(sender_to(receiver.url))).is_reachable


async def test_a_name_that_leads_to_this_machine_is_not_called(receiver: Receiver) -> None:
    port = receiver.url.split(":")[2].partition("/")[0]
    rules = AddressRules(host_suffixes=(".localhost",), topic_suffixes=())
    failure = await failure_of(sender_to(f"https://hooks.localhost:{port}/", rules=rules))
    assert str(failure).startswith("The sink cannot be reached: ")
    assert receiver.arrivals == []


@pytest.mark.parametrize("url", ["http://evil.test/SECRET", "https://evil.test/SECRET", "nonsense SECRET"])
async def test_an_address_off_the_list_is_not_called_and_not_shown(url: str) -> None:
    sender = sender_to(url)
    assert "'address'" in str(await failure_of(sender))
    with pytest.raises(InvalidRequest, match="'address'") as refused:
        await sender.check(WEBHOOK)
    assert refused.value.param == "address_secret"
    assert "SECRET" not in str(refused.value)


async def test_a_secret_that_is_missing_or_unfit_is_told_by_its_name(receiver: Receiver) -> None:
    unknown = AlertSink(name="ops", type=SinkType.SLACK, address_secret="unknown")
    unfit = sender_to(receiver.url, key="too-short")
    assert "'key'" in str(await failure_of(unfit))
    for sender, sink, name in ((unfit, WEBHOOK, "key"), (sender_to(""), unknown, "unknown")):
        with pytest.raises(InvalidRequest, match=f"'{name}'"):
            await sender.check(sink)
    assert "'unknown'" in str(await failure_of(sender_to(""), unknown))
    await sender_to(receiver.url).check(WEBHOOK)


async def test_the_same_event_has_the_same_id_and_body_at_every_try(receiver: Receiver) -> None:
    clock = ManualClock()
    sender = sender_to(receiver.url, clock=clock)
    for _ in range(2):
        await sender.send(WEBHOOK, [event()])
        clock.moment += timedelta(seconds=5)
    first, second = receiver.arrivals
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
