"""Raise alerts when breakers open: about the backend, its region, and the deployments that it serves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from shared.application.alerts.raise_alert import RaiseAlert
from shared.domain.alerts.alert import AlertKind
from shared.domain.routing.backend_health import BackendHealth
from shared.domain.routing.catalog import Backend, Catalog


class BreakerAlerts:
    """Tells what this process found out, once an hour for each object, in the background.

    A backend that only refuses for its rate is not down. A drained one does not count.
    """

    def __init__(self, raise_alert: RaiseAlert) -> None:
        self._raise_alert = raise_alert

    def __call__(
        self, health: BackendHealth, catalog: Catalog, health_of: Callable[[str], BackendHealth | None]
    ) -> None:
        """Look at a breaker that has changed, and at those beside it."""
        backend = catalog.backends.get(health.backend_id)
        if backend is None or not _is_down(health):
            return
        data = {"backend": backend.backend_id, "region": backend.region, "reason": health.reason}
        if health.is_misconfigured:
            self._tell(AlertKind.BACKEND_MISCONFIGURED, f"backends/{backend.backend_id}", data)

        def are_down(backends: Iterable[Backend]) -> bool:
            in_use = [health_of(each.backend_id) for each in backends if each.weight]
            return bool(in_use) and all(each is not None and _is_down(each) for each in in_use)

        if are_down(each for each in catalog.backends.values() if each.region == backend.region):
            self._tell(AlertKind.REGION_DOWN, f"regions/{backend.region}", data)
        for deployment in catalog.deployments.values():
            pool = [each for _, each in catalog.pool(deployment)]
            if backend in pool and are_down(pool):
                of_pool = {**data, "deployment": deployment.name}
                self._tell(AlertKind.POOL_DOWN, f"deployments/{deployment.name}", of_pool)

    def _tell(self, kind: AlertKind, subject: str, data: Mapping[str, str]) -> None:
        """Raise an alert named as its subject: a backend, a region and a deployment may have the same name."""
        self._raise_alert.of_platform(kind, subject, subject, data)


def _is_down(health: BackendHealth) -> bool:
    return health.open_until is not None and not health.is_throttled
