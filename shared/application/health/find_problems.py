"""Find what is configured so that requests fail, and backends that are down."""

from __future__ import annotations

from collections.abc import Iterator

from shared.application.cached_value import Cached
from shared.application.ports.clock import Clock
from shared.application.ports.routing import CatalogStore, HintStore, StoredHints
from shared.domain.damaged_row import DamagedRow
from shared.domain.pricing.price_book import PriceBook
from shared.domain.routing.catalog import Backend, Catalog, Deployment
from shared.domain.values import value


@value
class Problem:
    """Something that somebody should look at: its object, such as `deployments/gpt-4o`, and what is wrong."""

    subject: str
    message: str


def problem_of(row: DamagedRow) -> Problem:
    """Return a damaged row as a problem."""
    return Problem(row.row, f"the row is damaged: {row.message}")


class FindProblems:
    """Looks at the catalog, the prices, and what all processes have noted about backends."""

    def __init__(self, catalog: CatalogStore, hints: HintStore, prices: Cached[PriceBook], clock: Clock) -> None:
        self._catalog = catalog
        self._hints = hints
        self._prices = prices
        self._clock = clock

    async def __call__(self) -> list[Problem]:
        """Return all problems, ordered by their objects. Raises `StorageUnavailable`."""
        catalog, prices, hints = await self._catalog.load(), await self._prices.get(), await self._hints.load()
        down = self._down(hints)
        found = [Problem(f"backends/{name}", f"is down: {reason}") for name, reason in down.items()]
        found += self._unpriced(catalog, prices)
        damaged = [row.with_effect for row in prices.damaged]
        found += map(problem_of, (*damaged, *catalog.damaged.values(), *hints.damaged))
        for deployment in catalog.deployments.values():
            found += _of_deployment(deployment, catalog, down)
        return sorted(found, key=lambda problem: problem.subject)

    async def unavailable(self) -> dict[str, int]:
        """Count the backends of each deployment's own pool that are down. Raises `StorageUnavailable`."""
        catalog, down = await self._catalog.load(), self._down(await self._hints.load())
        return {name: sum(each in down for each in one.backends) for name, one in catalog.deployments.items()}

    def _down(self, hints: StoredHints) -> dict[str, str]:
        """Return the reasons of the backends that are down by now, as any process has noted it."""
        now = self._clock.now()
        return {hint.backend_id: hint.reason for hint in hints.readable if now < hint.down_until}

    def _unpriced(self, catalog: Catalog, prices: PriceBook) -> Iterator[Problem]:
        now = self._clock.now()
        used = {name for deployment in catalog.deployments.values() for name in deployment.backends}
        for name in sorted(used & catalog.backends.keys()):
            backend = catalog.backends[name]
            if not prices.has_price(backend.price_key, now):
                yield Problem(f"backends/{name}", f"no price of its model '{backend.model}' is known")


def _of_deployment(deployment: Deployment, catalog: Catalog, down: dict[str, str]) -> Iterator[Problem]:
    subject = f"deployments/{deployment.name}"
    pool = [catalog.backends[name] for name in deployment.backends if name in catalog.backends]
    serving: list[Backend] = [each for each in pool if each.weight]
    if not serving:
        yield Problem(subject, "every backend is drained" if pool else "it has no backend")
    elif all(each.backend_id in down for each in serving):
        yield Problem(subject, "all its backends are down")
