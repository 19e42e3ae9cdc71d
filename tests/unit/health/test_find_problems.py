"""Deployments that no backend can serve are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from shared.adapters.documents.routing import DocumentCatalog
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.cached_value import Cached
from shared.application.health.find_problems import FindProblems, Problem
from shared.application.ports.routing import Hint, StoredHints
from shared.domain.pricing.price_book import PriceBook
from shared.domain.routing.catalog import Backend, Deployment
from tests.tools.events import told
from tests.tools.ledgers import ManualClock


@dataclass
class Hints:
    """Hints that a test states."""

    hints: Sequence[Hint] = ()

    async def load(self) -> StoredHints:
        return StoredHints(self.hints, ())

    async def put(self, hint: Hint) -> None:
        raise AssertionError


async def test_deployments_without_a_backend_that_serves_are_named() -> None:
    clock, catalog, hints = ManualClock(), DocumentCatalog(InMemoryDocuments()), Hints()
    for name, weight in (("a", 1), ("b", 1), ("drained", 0)):
        backend = Backend(
            backend_id=name, endpoint="https://x", upstream_deployment="d", model="m", region="r", weight=weight
        )
        await catalog.put_backend(backend, told())
    pools = {"none": (), "gone": ("x",), "off": ("drained",), "half": ("a", "b"), "down": ("a", "drained")}
    for name, backends in pools.items():
        await catalog.put_deployment(Deployment(name=name, backends=backends), told())
    now = clock.now()
    hints.hints = [
        Hint(backend_id="a", instance="i", noted_at=now, down_until=now + timedelta(seconds=9), reason="status 500"),
        Hint(backend_id="b", instance="i", noted_at=now, down_until=now, reason="status 500"),
    ]

    async def book() -> PriceBook:
        return PriceBook(())

    find = FindProblems(catalog, hints, Cached(book, clock), clock)
    found = [each for each in await find() if "price" not in each.message]
    assert found == [
        Problem("backends/a", "is down: status 500"),
        Problem("deployments/down", "all its backends are down"),
        Problem("deployments/gone", "it has no backend"),
        Problem("deployments/none", "it has no backend"),
        Problem("deployments/off", "every backend is drained"),
    ]
    assert await find.unavailable() == {"none": 0, "gone": 0, "off": 0, "half": 1, "down": 1}
