"""The checks of the parts that a process needs. Each may raise a `GatewayError`: then its part has failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from shared.application.health.watch_timers import WatchTimers
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.ports.routing import BackendProbe, CatalogStore
from shared.application.ports.secrets import Secrets
from shared.domain.health.readiness import PartState
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Lane
from shared.domain.routing.catalog import Backend

Check: TypeAlias = Callable[[], Awaitable[PartState]]
_NO_TENANT = "0"


def ledger_check(ledger: Ledger, clock: Clock) -> Check:
    """Return the check that the ledger can be read."""

    async def check() -> PartState:
        await ledger.balance(Lane(_NO_TENANT, str(BillingPeriod.containing(clock.now()))))
        return PartState.OK

    return check


def configuration_check(catalog: CatalogStore) -> Check:
    """Return the check that backends and deployments can be read."""

    async def check() -> PartState:
        await catalog.load()
        return PartState.OK

    return check


def identity_check(token: Callable[[], Awaitable[str]] | None) -> Check:
    """Return the check that the process's identity gets tokens for its storage. `None` if storage needs none."""

    async def check() -> PartState:
        if token is None:
            return PartState.UNUSED
        await token()
        return PartState.OK

    return check


def vault_check(secrets: Secrets, names: Sequence[str]) -> Check:
    """Return the check that these secrets of the vault were read in the last ten minutes."""

    async def check() -> PartState:
        for name in names:
            await secrets.get(name)
        if not names:
            return PartState.UNUSED
        is_young = all(secrets.held(name) is not None for name in names)
        return PartState.OK if is_young else PartState.FAILED

    return check


def timers_check(watch: WatchTimers) -> Check:
    """Return the check that no timer is late."""

    async def check() -> PartState:
        return PartState.FAILED if any(each.is_late for each in await watch()) else PartState.OK

    return check


class BackendsCheck:
    """The check that a backend can be reached. It asks the one that answered last, and only else all others.

    If the check is cut off while that one is silent, the next check asks all at once.
    """

    def __init__(self, catalog: CatalogStore, probe: BackendProbe) -> None:
        self._catalog = catalog
        self._probe = probe
        self._reached = ""

    async def __call__(self) -> PartState:
        backends = dict((await self._catalog.load()).backends)
        last, self._reached = backends.get(self._reached), ""
        if last is not None:
            if await self._probe.reachable(last):
                self._reached = last.backend_id
                return PartState.OK
            del backends[last.backend_id]
        self._reached = await self._first_of(list(backends.values()))
        return PartState.OK if self._reached else PartState.FAILED

    async def _first_of(self, backends: Sequence[Backend]) -> str:
        """Return the id of the first backend that answers; empty if none does."""

        async def ask(backend: Backend) -> str:
            return backend.backend_id if await self._probe.reachable(backend) else ""

        asked = [asyncio.create_task(ask(each)) for each in backends]
        try:
            for answer in asyncio.as_completed(asked):
                if reached := await answer:
                    return reached
        finally:
            for each in asked:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return ""
