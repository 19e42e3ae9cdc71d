"""Whether this process could serve a request now."""

from __future__ import annotations

from shared.application.cached import Cached
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.ports.routing import BackendProbe, CatalogStore
from shared.domain.errors import StorageUnavailable
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Lane

_NO_TENANT = "0"


class CheckReadiness:
    """Asks the ledger, the configuration store and the backends; an answer is kept for some seconds."""

    def __init__(self, ledger: Ledger, catalog: CatalogStore, probe: BackendProbe, clock: Clock) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._probe = probe
        self._clock = clock
        self._checks = Cached(self._check, clock)

    async def __call__(self) -> dict[str, bool]:
        """Which of `ledger`, `configuration` and `backend` (at least one) can be reached."""
        return await self._checks.get()

    async def _check(self) -> dict[str, bool]:
        checks = {"ledger": False, "configuration": False, "backend": False}
        try:
            await self._ledger.balance(Lane(_NO_TENANT, str(BillingPeriod.containing(self._clock.now()))))
            checks["ledger"] = True
            backends = (await self._catalog.load()).backends.values()
            checks["configuration"] = True
        except StorageUnavailable:
            return checks
        for backend in backends:
            if await self._probe.reachable(backend):
                checks["backend"] = True
                break
        return checks
