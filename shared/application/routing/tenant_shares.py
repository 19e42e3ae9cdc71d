"""Bounds the part of a backend's places that one tenant may hold, so that it cannot take them all from the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial


class TenantShares:
    """Counts the places that each tenant holds in this process, at the backends whose places are limited.

    A tenant may hold at least one place. Of several places, at least one stays for other tenants if `share` is below 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._held: dict[tuple[str, str], int] = {}
        self._most: dict[str, int] = {}
        self.full: dict[str, set[str]] = {}
        """By tenant: the backends at which it holds all the places that it may."""

    def hold(self, tenant_id: str, backend_id: str, places: int) -> Callable[[], None]:
        """Count one place at a backend that has `places`. Returns a function to call once, when it is free again."""
        held = self._held.get((tenant_id, backend_id), 0) + 1
        self._held[tenant_id, backend_id] = held
        self._most[backend_id] = most = max(1, int(places * self._share))
        if held >= most:
            self.full.setdefault(tenant_id, set()).add(backend_id)
        return partial(self._give_back, tenant_id, backend_id)

    def _give_back(self, tenant_id: str, backend_id: str) -> None:
        held = self._held.pop((tenant_id, backend_id)) - 1
        if held:
            self._held[tenant_id, backend_id] = held
        full = self.full.get(tenant_id)
        if full is not None and held < self._most[backend_id]:  # it holds more after the places became fewer
            full.discard(backend_id)
            if not full:
                del self.full[tenant_id]
