"""Check that this process could serve a request now."""

from __future__ import annotations

from shared.application.cached_value import Cached
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.ports.routing import BackendProbe, CatalogStore
from shared.domain.errors import StorageUnavailable
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Lane
from shared.domain.values import value

_NO_TENANT = "0"


@value
class Readiness:
    """The parts that can be reached; `backend` means at least one of them."""

    ledger: bool = False
    configuration: bool = False
    backend: bool = False

    @property
    def is_ready(self) -> bool:
        """Return whether requests can be served."""
        return self.ledger and self.configuration and self.backend


class CheckReadiness:
    """Asks the ledger, the configuration store and the backends; an answer is kept for some seconds."""

    def __init__(self, ledger: Ledger, catalog: CatalogStore, probe: BackendProbe, clock: Clock) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._probe = probe
        self._clock = clock
        self._checks = Cached(self._check, clock)

    async def __call__(self) -> Readiness:
        """Return the parts that can be reached, as of at most some seconds ago."""
        return await self._checks.get()

    async def _check(self) -> Readiness:
        try:
            await self._ledger.balance(Lane(_NO_TENANT, str(BillingPeriod.containing(self._clock.now()))))
        except StorageUnavailable:
            return Readiness()
        try:
            backends = (await self._catalog.load()).backends.values()
        except StorageUnavailable:
            return Readiness(ledger=True)
        for backend in backends:
            if await self._probe.reachable(backend):
                return Readiness(ledger=True, configuration=True, backend=True)
        return Readiness(ledger=True, configuration=True)
