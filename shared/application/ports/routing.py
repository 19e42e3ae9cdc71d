"""Ports to the catalog of backends and deployments, to hints, and to probes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from shared.domain.routing.catalog import Backend, Catalog, Deployment
from shared.domain.values import record


class CatalogStore(Protocol):
    """Backends and deployments. Raises `StorageUnavailable`."""

    async def load(self) -> Catalog:
        """Everything that is configured."""
        ...

    async def put_backend(self, backend: Backend) -> None:
        """Insert or replace."""
        ...

    async def remove_backend(self, backend_id: str) -> None:
        """Forget a backend; harmless if it is unknown."""
        ...

    async def put_deployment(self, deployment: Deployment) -> None:
        """Insert or replace."""
        ...


@record
class Hint:
    """What one process found out of a backend: that it is down until a moment, or, if that has passed, up again."""

    backend_id: str
    instance: str
    noted_at: datetime
    down_until: datetime
    reason: str


class HintStore(Protocol):
    """The latest hint of each backend. Raises `StorageUnavailable`."""

    async def load(self) -> Sequence[Hint]:
        """Every hint."""
        ...

    async def put(self, hint: Hint) -> None:
        """Insert or replace."""
        ...


class BackendProbe(Protocol):
    """Asks a backend whether it is reachable and accepts the gateway's identity."""

    async def reachable(self, backend: Backend) -> bool:
        """Whether the backend answers."""
        ...
