"""Receivers of alerts over real sockets: what arrived, and answers of every kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from aiohttp import web

from shared.adapters.cloud_events import event_of
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.alerts.event import AlertEvent
from tests.tools.ledgers import NOW
from tests.tools.stack import free_port
from tests.tools.tls import server_context, serving

SIGNING_SECRET = "whsec_" + "c2lnbmluZy1zZWNyZXQtZm9yLXRlc3RzLW9ubHk="
Answer: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Arrival:
    """One request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Receiver:
    """Answers 200, or as a test says."""

    url: str
    arrivals: list[Arrival] = field(default_factory=list)
    answer: Answer | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.arrivals.append(Arrival(request.path_qs, headers, await request.read()))
        self.arrived.set()
        return await self.answer(request) if self.answer else web.Response()

    def answering(self, status: int, headers: dict[str, str] | None = None) -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=status, headers=headers, text="SECRET-ANSWER")

        self.answer = answer

    @property
    def ids(self) -> list[str]:
        return [each.headers["webhook-id"] for each in self.arrivals]


@asynccontextmanager
async def running_receiver(*, tls: bool = False) -> AsyncIterator[Receiver]:
    port = free_port()
    receiver = Receiver(f"{'https' if tls else 'http'}://127.0.0.1:{port}/hook?sig=SECRET-SIGNATURE")
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", receiver.handle)
    async with serving(application, port, server_context() if tls else None):
        yield receiver


def alert(
    name: str = "one",
    kind: AlertKind = AlertKind.BUDGET_THRESHOLD,
    tenant: str = "acme",
    at: datetime = NOW,
    **data: str,
) -> Alert:
    subject = f"tenants/{tenant}" if tenant else "platform"
    return Alert(kind=kind, event_id=name, at=at, subject=subject, tenant_id=tenant, data=data)


def event(
    name: str = "one",
    kind: AlertKind = AlertKind.BUDGET_THRESHOLD,
    tenant: str = "acme",
    at: datetime = NOW,
    **data: str,
) -> AlertEvent:
    return event_of(alert(name, kind, tenant, at, **data))


def alert_now(name: str, kind: AlertKind = AlertKind.BUDGET_THRESHOLD, tenant: str = "") -> Alert:
    """Return an alert that is raised now, for sinks that were put before."""
    return alert(name, kind, tenant, datetime.now(UTC))
