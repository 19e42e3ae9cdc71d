"""Ports to the catalog of backends and deployments, to hints, and to probes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from shared.domain.audit.events import AuditEvent
from shared.domain.damaged_row import DamagedRow
from shared.domain.routing.catalog import Backend, Catalog, Deployment
from shared.domain.values import record, value


class CatalogStore(Protocol):
    """The configured backends and deployments. All methods raise `StorageUnavailable`.

    - A change is stored together with its event: both, or neither.
    - It replaces the version `event.before`. Raises `VersionConflict` if another version stands there.
    """

    async def load(self) -> Catalog:
        """Return all backends and deployments. Those whose rows cannot be read are named in the catalog."""
        ...

    async def put_backend(self, backend: Backend, event: AuditEvent) -> None:
        """Insert or replace a backend."""
        ...

    async def remove_backend(self, backend_id: str, event: AuditEvent) -> None:
        """Remove a backend."""
        ...

    async def put_deployment(self, deployment: Deployment, event: AuditEvent) -> None:
        """Insert or replace a deployment."""
        ...


@record
class Hint:
    """One process's observation of a backend: it is down until `down_until`, or up again if that is over."""

    backend_id: str
    instance: str
    noted_at: datetime
    down_until: datetime
    reason: str


@value
class StoredHints:
    """The hints that can be read, and the rows of the others."""

    readable: Sequence[Hint]
    damaged: Sequence[DamagedRow]


class HintStore(Protocol):
    """The latest hint about each backend, shared by all processes. All methods raise `StorageUnavailable`."""

    async def load(self) -> StoredHints:
        """Return all hints."""
        ...

    async def put(self, hint: Hint) -> None:
        """Insert or replace the hint about a backend. The last writer wins."""
        ...


class BackendProbe(Protocol):
    """Checks that a backend can be reached and accepts the gateway's identity."""

    async def reachable(self, backend: Backend) -> bool:
        """Tell whether the backend answers. Costs no tokens, and raises nothing."""
        ...
