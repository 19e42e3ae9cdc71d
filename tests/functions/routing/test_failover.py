"""Five regions fail in many ways. Callers do not notice, and the books have every attempt."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared.adapters.azure_openai.backend_keys import BackendKeys
from shared.adapters.azure_openai.probe import OpenAIProbe
from shared.adapters.identity.credentials import CachedTokens, managed_identity
from shared.adapters.in_memory.secrets import StatedSecrets
from shared.domain.routing.catalog import Backend, BackendApi, BackendAuth
from tests.functions.inference.test_operations import form
from tests.proof import chaos
from tests.tools.books import disagreements
from tests.tools.stack import API_VERSION, REGIONS, SIMULATOR_KEY, Stack, eventually, free_port

CLIENTS = 8
REQUESTS = 64
SWEDEN, GERMANY, FRANCE, VIRGINIA, TOKYO = REGIONS


@dataclass
class Seen:
    """The answers that callers of a scenario got, with the entries and the records of the regions."""

    statuses: Counter[int] = field(default_factory=Counter)
    attempts: list[int] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    entries: list[dict[str, Any]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def wasted(self) -> int:
        """The number of attempts beyond one for each request."""
        return sum(self.attempts) - sum(1 for attempts in self.attempts if attempts)

    def by_region(self) -> Counter[str]:
        return Counter(record["region"] for record in self.records)


async def run(stack: Stack, requests: int = REQUESTS, clients: int = CLIENTS, *, stream: bool = False) -> Seen:
    """Send requests, and check the books that they leave."""
    seen, slots = Seen(), asyncio.Semaphore(clients)

    async def one(number: int) -> None:
        async with slots:
            status, headers, answer = await stack.chat(f"Say {number}", stream=stream)
        seen.statuses[status] += 1
        seen.attempts.append(int(headers["x-gateway-attempts"]))
        if status != 200:
            assert int(headers["retry-after"]) >= 1
            seen.codes[answer["error"]["code"]] += 1
        elif stream and b'"error"' in answer:
            seen.codes[json.loads(answer.rpartition(b"data: ")[2])["error"]["code"]] += 1

    await asyncio.gather(*(one(number) for number in range(requests)))
    await stack.release_faults()
    await stack.settled()
    seen.entries, seen.records = await stack.every_entry(), await stack.requests()
    check_books(seen)
    usage = await stack.usage()
    assert usage["tokens_reserved"] == 0
    refused_unattempted = seen.attempts.count(0)
    assert usage["requests"] == requests - refused_unattempted
    assert usage["failed_requests"] == usage["requests"] - seen.statuses[200]
    gateway = await stack.gateway()
    await gateway.ledger.roll_up_usage()
    assert [found async for _, found in gateway.ledger.verify(usage["period"])] == [[]]
    return seen


def check_books(seen: Seen) -> None:
    """Require an entry for each attempt, one that counts for each request, and the billed tokens."""
    assert len(seen.entries) == sum(seen.attempts)
    by_request: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in seen.entries:
        by_request[entry["request_id"]].append(entry)
    assert all(sum(not each["superseded"] for each in entries) == 1 for entries in by_request.values())
    assert sorted(len(entries) for entries in by_request.values()) == sorted(filter(None, seen.attempts))
    assert not [*disagreements(seen.entries, seen.records)]


@pytest.fixture
async def regions(stack: Stack) -> Stack:
    """Put five regions behind one deployment."""
    await stack.pool(*REGIONS)
    return stack


async def test_healthy_regions_share_the_requests_without_wasted_attempts(regions: Stack) -> None:
    seen = await run(regions)
    assert (seen.statuses, seen.wasted) == ({200: REQUESTS}, 0)
    assert set(seen.by_region()) == set(REGIONS)
    assert {entry["processed_in"] for entry in seen.entries} == set(REGIONS)


async def test_a_region_that_cannot_be_reached_costs_nothing(regions: Stack) -> None:
    await regions.backend(GERMANY, endpoint=f"http://127.0.0.1:{free_port()}/x")
    seen = await run(regions)
    assert seen.statuses == {200: REQUESTS}
    assert 3 <= seen.wasted <= 3 + CLIENTS
    failed = [entry for entry in seen.entries if entry["superseded"]]
    assert {(each["region"], each["kind"], each["error_code"], each["tokens"]) for each in failed} == {
        (GERMANY, "void", "no_backend_available", 0)
    }


async def test_a_region_that_drops_connections_is_left_after_some_attempts(regions: Stack) -> None:
    await regions.fault(kind="refuse", region=GERMANY, count=None)
    seen = await run(regions)
    assert seen.statuses == {200: REQUESTS}
    assert 3 <= seen.wasted <= 3 + CLIENTS
    assert {(each["kind"], each["estimated"]) for each in seen.entries if each["superseded"]} == {("charge", True)}
    health = (await regions.health())[GERMANY]
    assert (health["state"], health["failures"], health["in_flight"]) == ("open", seen.wasted, 0)
    assert health["last_error"] == health["reason"] == "The connection to the backend broke before it answered."


@pytest.mark.parametrize("stack_settings", [{"BACKEND_HEAD_TIMEOUT_SECONDS": "0.3"}], indirect=True)
async def test_a_region_that_hangs_before_its_head_is_left(regions: Stack) -> None:
    await regions.fault(kind="hang", region=FRANCE, count=None)
    seen = await run(regions)
    assert seen.statuses == {200: REQUESTS}
    assert 3 <= seen.wasted <= 3 + 2 * CLIENTS
    failed = [each for each in seen.entries if each["superseded"]]
    assert {(each["region"], each["error_code"], each["status"]) for each in failed} == {
        (FRANCE, "backend_timeout", 504)
    }


async def test_a_slow_region_gets_fewer_requests_and_none_fails(regions: Stack) -> None:
    await regions.fault(kind="slow", region=SWEDEN, delay_ms=400, count=None)
    await run(regions, 30)
    (
        await regions.gateway()
    ).routing.dispatcher._transitions.count += 1  # takes the measured latency into account at once
    await regions.fault(kind="slow", region=SWEDEN, delay_ms=400, count=None)
    before = Counter(record["region"] for record in await regions.requests())
    seen = await run_on(regions, 150)
    assert (seen.statuses, seen.wasted) == ({200: 150}, 0)
    assert (seen.by_region() - before)[SWEDEN] < 150 / len(REGIONS) / 2


async def run_on(stack: Stack, requests: int) -> Seen:
    """Latencies count from the start, if earlier requests were measured."""
    seen = Seen()
    for number in range(requests):
        status, headers, _ = await stack.chat(f"Go on {number}")
        seen.statuses[status] += 1
        seen.attempts.append(int(headers["x-gateway-attempts"]))
    await stack.release_faults()
    seen.records = await stack.requests()
    return seen


async def test_a_region_that_states_a_time_is_left_alone_for_it(regions: Stack) -> None:
    await regions.fault(kind="status", status=429, headers={"retry-after": "30"}, region=TOKYO, count=None)
    seen = await run(regions)
    assert seen.statuses == {200: REQUESTS}
    assert 1 <= seen.wasted <= CLIENTS, "only requests that were sent before the first refusal"
    assert {(each["kind"], each["error_code"]) for each in seen.entries if each["superseded"]} == {
        ("void", "upstream_429")
    }
    health = (await regions.health())[TOKYO]
    assert (health["state"], health["reason"]) == ("open", "status 429")


async def test_a_busy_region_that_states_no_time_is_left_alone_for_a_second(regions: Stack) -> None:
    await regions.fault(kind="status", status=429, region=TOKYO, count=4)
    seen = await run(regions)
    assert seen.statuses == {200: REQUESTS}
    assert seen.wasted <= 4


async def test_all_regions_that_are_busy_for_a_moment_are_waited_for(regions: Stack) -> None:
    for region in REGIONS:
        await regions.fault(kind="status", status=429, headers={"retry-after-ms": "200"}, region=region, count=1)
    seen = await run(regions)
    assert seen.statuses == {200: REQUESTS}
    assert seen.wasted == len(REGIONS)


async def test_a_burst_of_server_errors_is_not_noticed(regions: Stack) -> None:
    for region in (SWEDEN, VIRGINIA):
        await regions.fault(kind="status", status=500, region=region, count=2)
    seen = await run(regions)
    assert (seen.statuses, seen.wasted) == ({200: REQUESTS}, 4)
    assert {health["state"] for health in (await regions.health()).values()} == {"closed"}


async def test_a_region_that_flaps_is_not_noticed(regions: Stack) -> None:
    for number in range(24):
        if number % 2:
            await regions.fault(kind="status", status=503, region=FRANCE, count=1)
        status, _, _ = await regions.chat("flap")
        assert status == 200
        await regions.release_faults()


async def test_broken_streams_end_with_an_error_event_and_the_region_is_left(regions: Stack) -> None:
    await regions.fault(kind="break", region=VIRGINIA, count=None, after_chunks=4)
    seen = await run(regions, stream=True)
    assert (seen.statuses, seen.wasted) == ({200: REQUESTS}, 0)
    assert set(seen.codes) == {"backend_error"}
    assert 3 <= seen.codes["backend_error"] <= 3 + CLIENTS
    assert (await regions.health())[VIRGINIA]["state"] == "open"


async def test_an_answer_that_breaks_before_its_first_byte_was_sent_is_attempted_again(regions: Stack) -> None:
    for kind in ("break", "malformed"):
        await regions.fault(kind=kind, count=2)
    seen = await run(regions)
    assert (seen.statuses, seen.wasted) == ({200: REQUESTS}, 4)
    failed = [each for each in seen.entries if each["superseded"]]
    assert {(each["error_code"], each["estimated"]) for each in failed} == {("backend_error", True)}


async def test_callers_are_told_when_to_retry_if_all_regions_are_down(regions: Stack) -> None:
    await regions.fault(kind="status", status=500, count=None)
    seen = await run(regions)
    assert set(seen.statuses) == {502, 503}
    assert set(seen.codes) == {"backend_error", "no_backend_available"}
    assert max(seen.attempts) == (await regions.gateway()).settings.max_attempts
    assert {entry["kind"] for entry in seen.entries} == {"void"}
    assert sum(health["state"] == "open" for health in (await regions.health()).values()) == len(REGIONS)


async def test_a_region_that_has_recovered_is_used_again(regions: Stack) -> None:
    await regions.fault(kind="status", status=500, region=SWEDEN, count=None)
    seen = await run(regions)
    assert seen.statuses == {200: REQUESTS}
    await expire(regions, SWEDEN)
    status, headers, _ = await regions.chat("probe")
    assert (status, headers["x-gateway-region"]) == (200, SWEDEN), "the first request is the probe"
    assert (await regions.health())[SWEDEN]["state"] == "closed"


async def expire(stack: Stack, name: str) -> None:
    """Wait until an open breaker allows a probe."""
    gateway = await stack.gateway()
    health = gateway.routing.dispatcher.health((await gateway.routing.catalog.load()).backends[name])
    assert health.open_until is not None
    health.open_until = gateway.clock.monotonic()
    health.transitions.count += 1


@pytest.mark.parametrize("status", [400, 404, 409, 422])
async def test_mistakes_of_callers_are_returned_and_open_no_breaker(regions: Stack, status: int) -> None:
    await regions.fault(kind="status", status=status, body={"error": {"code": "yours"}}, count=None)
    for _ in range(9):
        answered, headers, body = await regions.chat()
        assert (answered, headers["x-gateway-attempts"], body["error"]["code"]) == (status, "1", "yours")
    assert {health["failures"] for health in (await regions.health()).values()} == {0}


async def test_answers_of_the_content_filter_open_no_breaker(regions: Stack) -> None:
    for _ in range(9):
        status, headers, _ = await regions.chat("[filter-prompt]")
        assert (status, headers["x-gateway-attempts"]) == (400, "1")
    assert {health["failures"] for health in (await regions.health()).values()} == {0}


@pytest.mark.parametrize(
    ("status", "body"), [(401, None), (403, None), (404, {"error": {"code": "DeploymentNotFound", "message": "none"}})]
)
async def test_a_backend_that_refuses_the_gateway_raises_an_alarm_and_is_avoided(
    regions: Stack, status: int, body: Any
) -> None:
    await regions.fault(kind="status", status=status, body=body, region=SWEDEN, count=None)
    seen = await run(regions)
    assert seen.statuses == {200: REQUESTS}
    assert 1 <= seen.wasted <= CLIENTS
    health = (await regions.health())[SWEDEN]
    assert (health["is_misconfigured"], health["state"]) == (True, "open")


class TestUnknownPaths:
    """A 404 can mean a misconfigured backend, or an api-version that no backend knows."""

    @pytest.fixture
    async def astray(self, stack: Stack) -> Stack:
        """Put a pool in which the endpoint of one backend leads nowhere."""
        await stack.backend(SWEDEN)
        await stack.backend(GERMANY, endpoint=f"{stack.simulator_url}/nowhere")
        await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [SWEDEN, GERMANY]})
        return stack

    @pytest.mark.parametrize("dated", [True, False])
    async def test_a_backend_that_leads_nowhere_raises_an_alarm_and_is_avoided(
        self, astray: Stack, dated: bool
    ) -> None:
        attempts = Counter[str]()
        for number in range(20):
            body = {"messages": [{"role": "user", "content": f"Say {number}"}]}
            status, headers, _ = await astray.infer("chat/completions", "gpt-4o", body, dated=dated)
            assert (status, headers["x-gateway-backend"]) == (200, SWEDEN)
            attempts[headers["x-gateway-attempts"]] += 1
        assert attempts == {"1": 19, "2": 1}
        health = (await astray.health())[GERMANY]
        assert (health["is_misconfigured"], health["state"]) == (True, "open")
        assert [each["error_code"] for each in await astray.entries() if each["superseded"]] == ["upstream_404"]

    async def test_an_api_version_that_no_backend_knows_is_the_mistake_of_the_caller(self, astray: Stack) -> None:
        url = astray.chat_url.replace(API_VERSION, "1999-01-01")
        for _ in range(4):
            status, headers, body = await astray.chat(url=url)
            assert (status, headers["x-gateway-attempts"], body["error"]["code"]) == (404, "2", "404")
            assert "api-version '1999-01-01'" in body["error"]["message"]
            assert "retry-after" not in headers
        assert {health["failures"] for health in (await astray.health()).values()} == {0}
        assert (await astray.usage())["total_cost_usd"] == "0.00"

    @pytest.mark.parametrize("fields", [{"api_version": "1999-01-01"}, {"api": "openai"}], ids=["api_version", "api"])
    async def test_an_unknown_path_without_an_api_version_is_no_mistake_of_the_caller(
        self, stack: Stack, fields: dict[str, str]
    ) -> None:
        await stack.backend(GERMANY, **({"endpoint": f"{stack.simulator_url}/nowhere/openai/v1"} | fields))
        await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [GERMANY]})
        status, _, body = await stack.chat()
        assert (status, body["error"]["code"]) == (404, "404")
        assert (await stack.health())[GERMANY]["is_misconfigured"]


async def test_provisioned_capacity_serves_until_it_refuses_and_the_rest_has_its_own_price(
    stack: Stack,
) -> None:
    await stack.backend(GERMANY)
    await stack.backend(SWEDEN, sku="ProvisionedManaged")
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [GERMANY, SWEDEN]})
    await stack.fault(kind="status", status=429, headers={"retry-after-ms": "60000"}, region=SWEDEN, count=1)
    regions = [(await stack.chat())[1]["x-gateway-region"] for _ in range(5)]
    assert regions == [GERMANY] * 5
    await expire(stack, SWEDEN)
    assert (await stack.chat())[1]["x-gateway-region"] == SWEDEN


async def test_fallbacks_serve_when_the_own_pool_cannot_and_are_billed_at_their_own_price(stack: Stack) -> None:
    await stack.pool(SWEDEN, fallbacks=["gpt-4o-mini"])
    await stack.fault(kind="status", status=500, deployment="gpt-4o", count=1)
    status, headers, answer = await stack.chat()
    assert (status, headers["x-gateway-backend"], headers["x-gateway-attempts"]) == (200, "se-gpt-4o-mini", "2")
    assert answer["model"].startswith("gpt-4o-mini")
    first, second = await stack.entries()
    assert [(each["deployment"], each["model"], each["superseded"]) for each in (first, second)] == [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
    ]


async def test_a_tenants_own_pool_serves_it_alone(regions: Stack) -> None:
    await regions.manage("PATCH", f"/manage/tenants/{regions.tenant}", {"pools": {"gpt-4o": [TOKYO]}})
    other = await regions.register(f"{regions.tenant}-other")
    own = {(await regions.chat())[1]["x-gateway-region"] for _ in range(9)}
    others = {(await regions.chat(key=other))[1]["x-gateway-region"] for _ in range(40)}
    assert own == {TOKYO}
    assert len(others) > 1


async def test_residency_is_never_overridden(regions: Stack) -> None:
    await regions.manage(
        "PATCH", f"/manage/tenants/{regions.tenant}", {"residency": {"zones": ["eu"]}, "deployments": ["gpt-4o"]}
    )
    for region in (SWEDEN, GERMANY, FRANCE):
        await regions.fault(kind="status", status=500, region=region, count=None)
    seen = await run(regions, 20)
    assert not seen.statuses[200]
    assert set(seen.by_region()) <= {SWEDEN, GERMANY, FRANCE}
    assert {entry["processed_in"] for entry in seen.entries} <= {SWEDEN, GERMANY, FRANCE}


async def test_prompts_with_equal_beginnings_go_to_one_backend(regions: Stack) -> None:
    prompt = "words of a long system prompt " * 400
    headers = [(await regions.chat(f"{prompt} {number}"))[1] for number in range(8)]
    assert len({each["x-gateway-region"] for each in headers}) == 1
    homes = {(await regions.chat(f"{number} {prompt}"))[1]["x-gateway-region"] for number in range(30)}
    assert len(homes) > 2


@pytest.mark.parametrize("stack_settings", [{"MAX_ATTEMPTS": "2"}], indirect=True)
async def test_the_number_of_attempts_is_limited(regions: Stack) -> None:
    await regions.fault(kind="status", status=500, count=2)
    status, headers, _ = await regions.chat()
    assert (status, headers["x-gateway-attempts"]) == (502, "2")


@pytest.mark.parametrize("stack_settings", [{"FAILOVER_TIMEOUT_SECONDS": "1"}], indirect=True)
async def test_no_attempt_begins_after_the_deadline_of_the_request(regions: Stack) -> None:
    await regions.fault(kind="hang", count=None)
    status, headers, body = await regions.chat()
    assert (status, headers["x-gateway-attempts"], body["error"]["code"]) == (504, "1", "backend_timeout")
    assert re.search(r"head timeout of (1|0\.\d+) s", body["error"]["message"])


async def test_a_second_attempt_that_the_quota_refuses_ends_the_request(regions: Stack) -> None:
    await regions.manage("PATCH", f"/manage/tenants/{regions.tenant}", {"monthly_quota_tokens": 75})
    await regions.fault(kind="refuse", count=1)
    status, headers, body = await regions.chat("Hello! " * 8, max_tokens=20)
    assert (status, headers["x-gateway-attempts"], body["error"]["code"]) == (429, "2", "quota_exceeded")
    await regions.settled()
    (entry,) = await regions.entries()
    assert entry["superseded"]
    assert all(health["in_flight"] == 0 for health in (await regions.health()).values())


async def test_a_request_with_several_attempts_counts_once_against_the_rate_limits(regions: Stack) -> None:
    await regions.manage("PATCH", f"/manage/tenants/{regions.tenant}", {"requests_per_minute": 2})
    await regions.fault(kind="status", status=500, count=3)
    status, headers, _ = await regions.chat()
    assert (status, headers["x-gateway-attempts"], headers["x-ratelimit-remaining-requests"]) == (200, "4", "1")


async def test_a_caller_that_hangs_up_while_it_waits_leaves_the_queue(stack: Stack) -> None:
    await stack.fault(kind="status", status=429, headers={"retry-after-ms": "4000"}, count=None)
    request = asyncio.create_task(stack.chat())
    gateway = await stack.gateway()
    await eventually(lambda: bool(gateway.routing.dispatcher._queues))
    request.cancel()
    await eventually(lambda: not gateway.routing.dispatcher._queues)
    await stack.settled()
    (entry,) = await stack.entries()
    assert (entry["kind"], entry["error_code"], entry["superseded"]) == ("void", "upstream_429", False)
    assert (await stack.usage())["tokens_reserved"] == 0


async def test_a_tenant_at_its_limit_of_concurrent_requests_waits_its_turn(stack: Stack) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"max_concurrent_requests": 1})
    await stack.fault(kind="stall")
    first = asyncio.create_task(stack.chat("first"))
    await eventually(lambda: len(stack.simulator.records) == 1)
    second = asyncio.create_task(stack.chat("second", stream=True))
    gateway = await stack.gateway()
    await eventually(lambda: any(len(queue) for queue in gateway.routing.turns._queues.values()))
    assert len(stack.simulator.records) == 1
    await stack.release_faults()
    statuses = [(await each)[0] for each in (first, second)]
    assert statuses == [200, 200]
    await eventually(lambda: not gateway.routing.turns._under_way)


@pytest.mark.parametrize("stack_settings", [{"QUEUE_TIMEOUT_SECONDS": "0.05"}], indirect=True)
async def test_a_tenant_whose_turn_does_not_come_in_time_is_refused(stack: Stack) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"max_concurrent_requests": 1})
    await stack.fault(kind="stall")
    first = asyncio.create_task(stack.chat("first"))
    await eventually(lambda: len(stack.simulator.records) == 1)
    status, headers, body = await stack.chat("second")
    assert (status, body["error"]["code"], headers["retry-after"]) == (429, "rate_limit_exceeded", "1")
    await stack.release_faults()
    assert (await first)[0] == 200


class TestHedging:
    """Hedging asks a second backend if the first is slow to begin. Both are billed."""

    @pytest.fixture
    async def hedged(self, stack: Stack) -> Stack:
        await stack.backend(GERMANY, priority=2)
        await stack.backend(SWEDEN)
        await self.hedge_after(stack, 50)
        return stack

    async def hedge_after(self, stack: Stack, milliseconds: int) -> None:
        fields = {"backends": [SWEDEN, GERMANY], "hedge_after_ms": milliseconds}
        await stack.manage("PUT", "/manage/deployments/gpt-4o", fields)

    async def answer_of_a_slow_first(self, stack: Stack, fault: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        """The answer, where the first backend answers only after the failure of the second has been booked."""
        await stack.fault(kind="slow", region=SWEDEN, delay_ms=60_000)
        await stack.fault(region=GERMANY, **fault)
        chat = asyncio.create_task(stack.chat())
        async with asyncio.timeout(60):
            while not await stack.entries():  # noqa: ASYNC110 - a ledger entry raises no event
                await asyncio.sleep(0)
        await stack.release_faults()
        return await chat

    @pytest.mark.parametrize("stream", [False, True])
    async def test_the_second_backend_serves_and_the_first_is_billed(self, hedged: Stack, stream: bool) -> None:
        await hedged.fault(kind="hang", region=SWEDEN)
        status, headers, _ = await hedged.chat(stream=stream)
        assert (status, headers["x-gateway-backend"], headers["x-gateway-attempts"]) == (200, GERMANY, "2")
        await hedged.settled()
        entries = {entry["backend"]: entry for entry in await hedged.entries()}
        lost, won = entries[SWEDEN], entries[GERMANY]
        assert (lost["error_code"], lost["status"], lost["estimated"]) == ("hedged", 499, True)
        assert (lost["superseded"], won["superseded"]) == (True, False)
        assert lost["usage"]["input_tokens"] == won["usage"]["input_tokens"] > 0
        usage = await hedged.usage()
        assert (usage["requests"], usage["failed_requests"], usage["tokens_reserved"]) == (1, 0, 0)
        assert all(health["in_flight"] == 0 for health in (await hedged.health()).values())

    async def test_no_second_backend_is_asked_if_the_first_answers_in_time(self, hedged: Stack) -> None:
        await self.hedge_after(hedged, 60_000)
        _, headers, _ = await hedged.chat()
        assert (headers["x-gateway-backend"], headers["x-gateway-attempts"]) == (SWEDEN, "1")

    async def test_a_first_backend_that_fails_in_time_is_followed_by_another(self, hedged: Stack) -> None:
        await self.hedge_after(hedged, 60_000)
        await hedged.fault(kind="status", status=500, region=SWEDEN)
        _, headers, _ = await hedged.chat()
        assert (headers["x-gateway-backend"], headers["x-gateway-attempts"]) == (GERMANY, "2")

    @pytest.mark.parametrize("kind", ["refuse", "status"])
    async def test_the_first_backend_answers_if_the_second_fails(self, hedged: Stack, kind: str) -> None:
        status, headers, _ = await self.answer_of_a_slow_first(hedged, {"kind": kind})
        assert (status, headers["x-gateway-backend"], headers["x-gateway-attempts"]) == (200, SWEDEN, "2")
        entries = {entry["backend"]: entry["superseded"] for entry in await hedged.entries()}
        assert entries == {SWEDEN: False, GERMANY: True}

    async def test_the_first_backend_answers_if_the_second_lacks_the_deployment(self, hedged: Stack) -> None:
        lacking = {"kind": "status", "status": 404, "body": {"error": {"code": "DeploymentNotFound"}}}
        status, headers, _ = await self.answer_of_a_slow_first(hedged, lacking)
        assert (status, headers["x-gateway-backend"], headers["x-gateway-attempts"]) == (200, SWEDEN, "2")
        await hedged.settled()
        entries = {entry["backend"]: (entry["error_code"], entry["superseded"]) for entry in await hedged.entries()}
        assert entries == {SWEDEN: ("", False), GERMANY: ("upstream_404", True)}

    async def test_the_caller_gets_the_second_answer_if_it_reports_a_mistake(self, hedged: Stack) -> None:
        await hedged.fault(kind="hang", region=SWEDEN)
        await hedged.fault(kind="status", status=404, body={"error": {"code": "yours"}}, region=GERMANY)
        status, headers, _ = await hedged.chat()
        assert (status, headers["x-gateway-backend"]) == (404, GERMANY)
        await hedged.settled()
        entries = {entry["backend"]: (entry["error_code"], entry["superseded"]) for entry in await hedged.entries()}
        assert entries == {SWEDEN: ("hedged", True), GERMANY: ("upstream_404", False)}

    @pytest.mark.parametrize("stack_settings", [{"BACKEND_HEAD_TIMEOUT_SECONDS": "0.3"}], indirect=True)
    async def test_a_request_fails_if_both_backends_fail(self, hedged: Stack) -> None:
        await hedged.fault(kind="hang", region=SWEDEN)
        await hedged.fault(kind="status", status=500, region=GERMANY)
        status, headers, _ = await hedged.chat()
        assert (status, headers["x-gateway-attempts"]) == (504, "2")
        entries = {entry["backend"]: entry["superseded"] for entry in await hedged.entries()}
        assert entries == {SWEDEN: False, GERMANY: True}

    async def test_the_first_backend_answers_if_the_quota_refuses_a_second(self, hedged: Stack) -> None:
        await hedged.manage("PATCH", f"/manage/tenants/{hedged.tenant}", {"monthly_quota_tokens": 60})
        await hedged.fault(kind="slow", region=SWEDEN, delay_ms=400)
        status, headers, _ = await hedged.chat(max_tokens=20)
        assert (status, headers["x-gateway-backend"]) == (200, SWEDEN)
        assert len(await hedged.entries()) == 1

    @pytest.mark.parametrize("stack_settings", [{"MAX_ATTEMPTS": "1"}], indirect=True)
    async def test_attempts_are_bounded_for_hedges_too(self, hedged: Stack) -> None:
        await hedged.fault(kind="slow", region=SWEDEN, delay_ms=200)
        _, headers, _ = await hedged.chat()
        assert headers["x-gateway-attempts"] == "1"

    async def test_the_first_backend_is_awaited_if_no_other_is_ready(self, hedged: Stack) -> None:
        await hedged.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [SWEDEN], "hedge_after_ms": 10})
        await hedged.fault(kind="slow", region=SWEDEN, delay_ms=100)
        status, headers, _ = await hedged.chat()
        assert (status, headers["x-gateway-attempts"]) == (200, "1")


@pytest.mark.parametrize("stack_settings", [{"ALLOWED_ZONES": "hq"}], indirect=True)
async def test_another_server_with_openais_api_is_a_backend_like_any_other(stack: Stack) -> None:
    await stack.backend(SWEDEN, "onprem", endpoint=f"{stack.simulator_url}/{SWEDEN}/openai/v1", api="openai",
                        sku="OnPremises", zone="hq", headers={"X-Route": "a"})  # fmt: skip
    await stack.manage("PUT", "/manage/deployments/private", {"backends": ["onprem"]})
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"deployments": ["private"]})
    url = f"{stack.url}/openai/deployments/private/chat/completions?api-version={API_VERSION}"
    for stream in (False, True):
        status, headers, _ = await stack.chat(url=url, stream=stream)
        assert (status, headers["x-gateway-backend"]) == (200, "onprem")
    record = (await stack.requests())[0]
    assert record["path"] == f"/{SWEDEN}/openai/v1/chat/completions"
    assert (record["body"]["model"], record["headers"]["x-route"]) == ("gpt-4o", "a")
    assert {entry["processed_in"] for entry in await stack.entries()} == {"hq"}


async def test_a_backends_own_api_version_replaces_the_callers_on_dated_paths(stack: Stack) -> None:
    await stack.backend(SWEDEN, "old", api_version="2024-06-01")
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["old"]})
    await stack.chat()
    (record,) = await stack.requests()
    assert record["api_version"] == "2024-06-01"


async def test_a_form_names_the_model_if_the_server_needs_it(stack: Stack) -> None:
    await stack.backend(SWEDEN, "speech", endpoint=f"{stack.simulator_url}/{SWEDEN}/openai/v1", api="openai",
                        upstream_deployment="whisper", model="whisper")  # fmt: skip
    await stack.manage("PUT", "/manage/deployments/whisper", {"backends": ["speech"]})
    status, headers, _ = await stack.infer("audio/transcriptions", "whisper", form=form())
    assert (status, headers["x-gateway-backend"]) == (200, "speech")
    (record,) = await stack.requests()
    assert (record["path"], record["body"]["model"]) == (f"/{SWEDEN}/openai/v1/audio/transcriptions", "whisper")


@pytest.mark.parametrize("auth", ["api_key", "managed_identity"])
async def test_readiness_asks_another_server_by_its_own_api(stack: Stack, auth: str) -> None:
    tokens = CachedTokens(lambda authority: managed_identity("", authority))
    probe = OpenAIProbe(tokens, BackendKeys(StatedSecrets({"KEY": SIMULATOR_KEY}), "KEY"))
    backend = Backend(
        backend_id="onprem",
        endpoint=f"{stack.simulator_url}/{SWEDEN}/openai/v1",
        upstream_deployment="gpt-4o",
        model="gpt-4o",
        region=SWEDEN,
        api=BackendApi.OPENAI,
        auth=BackendAuth(auth),
    )
    assert await probe.reachable(backend) is (auth == "api_key")
    await tokens.close()


@pytest.mark.parametrize(
    ("status", "answered", "code"), [(401, 502, "backend_error"), (429, 503, "no_backend_available"), (500, 502, None)]
)
async def test_reading_a_stored_response_reports_the_failure_of_its_backend(
    stack: Stack, status: int, answered: int, code: str | None
) -> None:
    url, headers = f"{stack.url}/openai/v1/responses", {"api-key": stack.key}
    async with stack.session.post(url, json={"model": "gpt-4o", "input": "Hi"}, headers=headers) as answer:
        made = (await answer.json())["id"]
    await stack.fault(kind="status", status=status, headers={"retry-after": "7"}, deployment="responses")
    async with stack.session.get(f"{url}/{made}", headers=headers) as answer:
        assert answer.status == answered
        assert (await answer.json())["error"]["code"] == (code or "backend_error")
        assert answer.headers.get("retry-after") == ("7" if status == 429 else None)


@pytest.mark.parametrize("stack_settings", [chaos.SETTINGS], indirect=True)
async def test_no_request_is_dropped_and_no_data_leaves_its_zone_while_regions_fail(stack: Stack) -> None:
    evidence = await chaos.run(stack, 4, random.Random(11))
    assert evidence.problems == []
    assert set(evidence.statuses) == {200}
    assert max(evidence.attempts) > 1
