"""A process is ready if its ledger, its configuration and a backend can be reached."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from shared.adapters.documents.routing import DocumentCatalog
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.ledger import TableLedger
from shared.application.health.check_readiness import CheckReadiness, Readiness
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.errors import StorageUnavailable
from shared.domain.routing.catalog import Backend, Catalog
from tests.tools.events import told
from tests.tools.ledgers import FaultyStore, ManualClock


class UnreachableCatalog(DocumentCatalog):
    async def load(self) -> Catalog:
        raise StorageUnavailable


@dataclass
class Probe:
    """Reaches the backends of these ids."""

    backend_ids: tuple[str, ...] = ()

    async def reachable(self, backend: Backend) -> bool:
        return backend.backend_id in self.backend_ids


def backend(backend_id: str) -> Backend:
    return Backend(backend_id=backend_id, endpoint="https://x", upstream_deployment="d", model="m", region="r")


async def readiness(
    *reachable: str, ledger_is_down: bool = False, catalog: type[DocumentCatalog] = DocumentCatalog
) -> Readiness:
    store, clock = FaultyStore(InMemoryTableStore(), is_down=ledger_is_down), ManualClock()
    configured = catalog(InMemoryDocuments())
    for backend_id in ("a", "b"):
        await configured.put_backend(backend(backend_id), told())
    return await CheckReadiness(
        TableLedger(store, HashChain(KeyRing(keys={"0": b"test"})), clock), configured, Probe(reachable), clock
    )()


@pytest.mark.parametrize("reachable", [("a",), ("b",), ("a", "b")])
async def test_one_backend_that_can_be_reached_is_enough(reachable: tuple[str, ...]) -> None:
    found = await readiness(*reachable)
    assert (found, found.is_ready) == (Readiness(ledger=True, configuration=True, backend=True), True)


async def test_a_part_that_cannot_be_reached_is_named() -> None:
    found = [
        await readiness("a", ledger_is_down=True),
        await readiness("a", catalog=UnreachableCatalog),
        await readiness("c"),
    ]
    assert found == [Readiness(), Readiness(ledger=True), Readiness(ledger=True, configuration=True)]
    assert not any(each.is_ready for each in found)
