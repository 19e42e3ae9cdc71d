"""Cancellations, ledger outages and simultaneous answers, at moments that simulated faults cannot hit reliably."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.requests import Request

from shared.application.inference.attempt_backend import Served
from shared.application.inference.incoming_call import IncomingCall
from shared.application.tenancy.principals import TenantPrincipal
from shared.domain.errors import BackendBroken, BackendUnavailable, LedgerUnavailable, QuotaExceeded
from shared.domain.identity.role import Role
from shared.domain.ledger.entries import Outcome, Reservation
from shared.domain.routing.catalog import Backend
from shared.http.requests import wait_for_disconnect
from tests.tools.stack import API_VERSION, REGIONS, Stack, eventually

SWEDEN, GERMANY, *_ = REGIONS
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5}}'


@dataclass
class Answer:
    """An upstream response."""

    body: bytes = ANSWER
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    is_closed: bool = False
    gate: asyncio.Event | None = None

    async def read(self) -> bytes:
        if self.gate is not None:
            await self.gate.wait()
        return self.body

    async def forward(self, take: Callable[[bytes], Awaitable[None] | None]) -> None:
        take(self.body)

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Scripted:
    """Implements `Upstream`. Each region gives the answer that the test sets, once it is set."""

    answers: dict[str, asyncio.Future[Answer]] = field(default_factory=dict)

    async def send(
        self, backend: Backend, method: str, path: str, body: bytes, headers: Mapping[str, str], seconds: float
    ) -> Answer:
        return await self.answers.setdefault(backend.region, asyncio.get_running_loop().create_future())


@pytest.fixture
async def upstream(stack: Stack) -> Scripted:
    """Put two regions under control of the test. Sweden is asked first."""
    await stack.backend(SWEDEN)
    await stack.backend(GERMANY, priority=2)
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [SWEDEN, GERMANY]})
    scripted = Scripted()
    (await stack.gateway()).inference.serve._attempt._upstream = scripted  # type: ignore[assignment]
    return scripted


async def serve(stack: Stack) -> asyncio.Task[Served]:
    """Send one request to the use case itself."""
    gateway = await stack.gateway()
    tenant = (await gateway.tenancy.tenants.get(stack.tenant)).value
    body = b'{"messages":[{"role":"user","content":"Hello!"}],"max_tokens":20}'
    call = IncomingCall(
        request_id="r",
        trace=gateway.inference.traces.begin("r", "chat/completions", None, b""),
        body=body,
        content_type="application/json",
        deployment="gpt-4o",
        base="/openai",
        api_version=API_VERSION,
        headers={},
        user="",
        wait_for_disconnect=asyncio.Event().wait,
    )
    caller = TenantPrincipal(tenant=tenant, key_id="key", role=Role.TENANT_USE)
    return asyncio.create_task(gateway.inference.serve(caller, call, gateway.inference.formats["chat/completions"]))


async def outcomes(stack: Stack) -> dict[str, tuple[Any, ...]]:
    await stack.settled()
    assert (await stack.usage())["tokens_reserved"] == 0
    assert all(health["in_flight"] == 0 for health in (await stack.health()).values())
    facts = ("kind", "error_code", "superseded")
    return {entry["backend"]: tuple(entry[fact] for fact in facts) for entry in await stack.entries()}


async def asked(upstream: Scripted, *regions: str) -> None:
    await eventually(lambda: set(upstream.answers) == set(regions))


async def test_a_request_that_is_cancelled_while_its_answer_comes_is_charged(stack: Stack, upstream: Scripted) -> None:
    request = await serve(stack)
    await asked(upstream, SWEDEN)
    upstream.answers[SWEDEN].set_result(Answer(gate=asyncio.Event()))
    health = (await stack.gateway()).routing.dispatcher._healths[SWEDEN][1]
    await eventually(lambda: health.latency_seconds is not None)
    request.cancel()
    assert (await asyncio.gather(request, return_exceptions=True))[0].__class__ is asyncio.CancelledError
    assert await outcomes(stack) == {SWEDEN: ("charge", "cancelled", False)}


async def test_a_request_that_is_cancelled_before_its_answer_begins_is_charged(
    stack: Stack, upstream: Scripted
) -> None:
    request = await serve(stack)
    await asked(upstream, SWEDEN)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert await outcomes(stack) == {SWEDEN: ("charge", "cancelled", False)}


@pytest.mark.parametrize("stack_settings", [{"MAX_ATTEMPTS": "9"}], indirect=True)
async def test_a_request_that_is_cancelled_while_it_waits_for_another_backend_is_booked(
    stack: Stack, upstream: Scripted
) -> None:
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [SWEDEN]})
    request = await serve(stack)
    await asked(upstream, SWEDEN)
    upstream.answers[SWEDEN].set_result(Answer(b"", 429, ((b"retry-after", b"4"),)))
    dispatcher = (await stack.gateway()).routing.dispatcher
    await eventually(lambda: bool(dispatcher._queues))
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert await outcomes(stack) == {SWEDEN: ("void", "upstream_429", False)}
    assert not dispatcher._queues


class Slow:
    """A ledger that does not answer."""

    async def reserve(self, *_: object) -> Any:
        await asyncio.Event().wait()


async def test_a_request_cancelled_during_admission_releases_its_slot(stack: Stack, upstream: Scripted) -> None:
    gateway = await stack.gateway()
    gateway.inference.serve._attempt._admit._ledger = Slow()  # type: ignore[assignment]
    request = await serve(stack)
    await eventually(lambda: gateway.routing.dispatcher._healths[SWEDEN][1].in_flight == 1)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert await outcomes(stack) == {}


class Failing:
    """A ledger whose settlements fail once."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self.has_failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def settle(self, reservation: Reservation, outcome: Outcome) -> Any:
        balance = await self._ledger.settle(reservation, outcome)
        if not self.has_failed:
            self.has_failed = True
            raise LedgerUnavailable
        return balance


@pytest.mark.parametrize("backends", [[SWEDEN, GERMANY], [SWEDEN]])
async def test_no_further_attempt_is_made_while_the_ledger_cannot_be_reached(
    stack: Stack, upstream: Scripted, backends: list[str]
) -> None:
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": backends})
    admit = (await stack.gateway()).inference.serve._attempt._admit
    admit._ledger = Failing(admit._ledger)
    request = await serve(stack)
    await asked(upstream, SWEDEN)
    upstream.answers[SWEDEN].set_exception(BackendUnavailable("gone"))
    with pytest.raises(LedgerUnavailable):
        await request
    assert await outcomes(stack) == {SWEDEN: ("void", "no_backend_available", len(backends) > 1)}
    assert set(upstream.answers) == {SWEDEN}


class TestHedgesThatAnswerAtOnce:
    @pytest.fixture(autouse=True)
    async def _hedged(self, stack: Stack, upstream: Scripted) -> None:
        fields = {"backends": [SWEDEN, GERMANY], "hedge_after_ms": 1}
        await stack.manage("PUT", "/manage/deployments/gpt-4o", fields)

    async def test_one_of_two_simultaneous_answers_serves_and_the_other_is_billed(
        self, stack: Stack, upstream: Scripted
    ) -> None:
        request = await serve(stack)
        await asked(upstream, SWEDEN, GERMANY)
        answers = {region: Answer() for region in upstream.answers}
        for region, answer in answers.items():
            upstream.answers[region].set_result(answer)
        served = await request
        (lost,) = {SWEDEN, GERMANY} - {served.backend.region}
        assert answers[lost].is_closed
        assert await outcomes(stack) == {
            served.backend.region: ("charge", "", False),
            lost: ("charge", "hedged", True),
        }

    async def test_a_failure_simultaneous_with_an_answer_is_booked_as_failed(
        self, stack: Stack, upstream: Scripted
    ) -> None:
        request = await serve(stack)
        await asked(upstream, SWEDEN, GERMANY)
        upstream.answers[SWEDEN].set_exception(BackendBroken("broke"))
        upstream.answers[GERMANY].set_result(Answer())
        assert (await request).backend.region == GERMANY
        assert await outcomes(stack) == {
            SWEDEN: ("charge", "backend_error", True),
            GERMANY: ("charge", "", False),
        }

    async def test_a_caller_that_leaves_ends_both_attempts(self, stack: Stack, upstream: Scripted) -> None:
        request = await serve(stack)
        await asked(upstream, SWEDEN, GERMANY)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        booked = await outcomes(stack)
        assert {facts[:2] for facts in booked.values()} == {("charge", "cancelled")}
        assert sorted(superseded for *_, superseded in booked.values()) == [False, True], (
            "both attempts belong to one request"
        )

    async def test_a_request_beyond_the_quota_is_refused_without_a_hedge(
        self, stack: Stack, upstream: Scripted
    ) -> None:
        await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"monthly_quota_tokens": 1})
        with pytest.raises(QuotaExceeded):
            await (await serve(stack))
        assert upstream.answers == {}


async def test_a_caller_has_hung_up_when_the_server_says_so() -> None:
    messages = [{"type": "http.request"}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    await wait_for_disconnect(Request({"type": "http"}, receive))
    assert messages == []
