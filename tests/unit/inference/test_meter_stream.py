"""A metered stream over a scripted backend: cut events, a missing end, and callers that leave at any moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.adapters.azure_openai.formats.chat import ChatCompletions
from shared.adapters.azure_openai.tokenizer import SplintrTokenizer
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.ledger import TableLedger
from shared.application.background import Background
from shared.application.inference.meter_stream import Drains, MeteredStream
from shared.application.inference.metered_attempt import MeteredAttempt
from shared.application.routing.backend_slot import BackendSlot
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.content_filter import ContentFilterPolicy, Severity
from shared.domain.ledger.balance import Lane
from shared.domain.pricing.price_book import PriceBook
from shared.domain.pricing.rates import Rates
from shared.domain.routing.backend_health import BackendHealth
from shared.domain.routing.catalog import Backend
from shared.domain.tenancy.tenant import Tenant
from tests.tools.ledgers import NOW, PERIOD, PRICES, VERSION, FaultyStore, ManualClock, account, reservation
from tests.tools.traces import traces

TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
DONE = b"data: [DONE]\n\n"


@dataclass
class Scripted:
    """An upstream response with these chunks."""

    script: list[bytes]
    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ()
    closed: bool = False

    async def read(self) -> bytes:
        return b"".join(self.script)

    async def forward(self, take: Callable[[bytes], Awaitable[None] | None]) -> None:
        while self.script:
            if (taking := take(self.script.pop(0))) is not None:
                await taking

    def close(self) -> None:
        self.closed = True


class Scene:
    """A stream with its ledger."""

    def __init__(self, *chunks: bytes) -> None:
        self.store = FaultyStore(InMemoryTableStore())
        self.ledger = TableLedger(self.store, HashChain(KeyRing(keys={"0": b"test"})), ManualClock())
        self.background = Background()
        self.response = Scripted(list(chunks))
        self.held = reservation()
        backend = Backend(
            backend_id="b",
            endpoint="https://b.invalid",
            upstream_deployment="gpt-4o",
            model="gpt-4o",
            region="swedencentral",
        )
        self.health = BackendHealth(backend_id="b", in_flight=1)
        self.slot = BackendSlot(backend, self.health, 0.0, ManualClock(), (), lambda _: None, is_probe=False)

    async def stream(self, **wanted: Any) -> MeteredStream:
        await self.ledger.reserve(account(), self.held)
        trace = traces(ManualClock()).begin("0" * 32, "chat/completions", None, b"")
        rate_card = PriceBook(PRICES).of_version(VERSION)
        attempt = MeteredAttempt(
            ledger=self.ledger,
            clock=ManualClock(),
            tokenizer=SplintrTokenizer(),
            reservation=self.held,
            trace=trace.attempt(),
            rates=Rates.of_card(rate_card),
            rate_card=rate_card,
            started_at=0.0,
        )
        wire = ChatCompletions()
        body = b'{"messages":[{}],"stream":true,"stream_options":{"include_usage":true}}'
        reader = wire.read_request(body, "application/json").reader
        assert reader is not None
        tenant = Tenant(tenant_id="acme", name="Acme", created_at=NOW, **wanted)
        drains = Drains(5, 9)
        return MeteredStream(attempt, self.response, wire, reader(), self.background, tenant, drains, self.slot, trace)

    async def booked(self) -> list[tuple[int, bool]]:
        entries = [entry async for entry in self.ledger.entries(Lane("acme", PERIOD), 1, 9)]
        return [(entry.amount.tokens, bool(entry.outcome and entry.outcome.estimated)) for entry in entries]


async def passed_on(stream: MeteredStream) -> list[bytes]:
    """Forward a stream. Returns the chunks that its caller gets."""
    sent: list[bytes] = []

    async def send(events: bytes) -> None:
        sent.append(events)

    await stream.forward(send)
    return sent


async def test_an_event_that_arrives_in_pieces_is_sent_whole() -> None:
    scene = Scene(TEXT[:20], TEXT[20:] + USAGE, DONE)
    assert await passed_on(await scene.stream()) == [TEXT + USAGE, DONE]
    assert await scene.booked() == [(4, False)]
    assert scene.response.closed


async def test_a_finding_below_the_threshold_of_a_blocking_tenant_passes() -> None:
    found = TEXT.replace(b'"index"', b'"content_filter_results":{"violence":{"severity":"medium"}},"index"')
    scene = Scene(found, USAGE, DONE)
    stream = await scene.stream(content_filter_policy=ContentFilterPolicy.BLOCK, content_filter_threshold=Severity.HIGH)
    assert await passed_on(stream) == [found, USAGE, DONE]


async def test_a_stream_with_usage_but_without_done_is_complete() -> None:
    scene = Scene(TEXT, USAGE)
    assert await passed_on(await scene.stream()) == [TEXT, USAGE]
    assert await scene.booked() == [(4, False)]


async def test_a_caller_that_leaves_after_the_booking_is_not_booked_again() -> None:
    scene = Scene(TEXT, USAGE, DONE)
    stream = await scene.stream()
    await passed_on(stream)
    stream.abandon("client_disconnected")
    assert not scene.background.is_busy
    assert await scene.booked() == [(4, False)]


async def test_an_outage_after_the_caller_has_left_loses_no_charge() -> None:
    scene = Scene(TEXT, USAGE, DONE)
    stream = await scene.stream()
    scene.store.is_down = True
    stream.abandon("client_disconnected")
    await scene.background.drain()
    scene.store.is_down = False
    await scene.ledger.drain()
    assert await scene.booked() == [(4, False)]
