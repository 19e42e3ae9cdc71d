"""A process is ready if all parts that its settings need can be used, and not ready without the required ones."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from shared.adapters.documents.routing import DocumentCatalog
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.secrets import StatedSecrets
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.ledger import TableLedger
from shared.application.health.check_readiness import CheckReadiness
from shared.application.health.parts import (
    BackendsCheck,
    Check,
    configuration_check,
    identity_check,
    ledger_check,
    vault_check,
)
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.errors import LedgerUnavailable, SecretUnavailable, StorageUnavailable
from shared.domain.health.readiness import REQUIRED, PartState, PartStates, Readiness
from shared.domain.routing.catalog import Backend, Catalog
from tests.tools.events import told
from tests.tools.ledgers import FaultyStore, ManualClock

OK, FAILED, UNUSED = PartState.OK, PartState.FAILED, PartState.UNUSED


class UnreachableCatalog(DocumentCatalog):
    async def load(self) -> Catalog:
        raise StorageUnavailable


class Held(StatedSecrets):
    """Secrets of a vault that was not read for long, but for those that are young."""

    def __init__(self, young: set[str], old: set[str]) -> None:
        super().__init__(dict.fromkeys(young | old, "value"))
        self.young = young

    def held(self, name: str) -> str | None:
        return super().held(name) if name in self.young else None


@dataclass
class Probe:
    """Reaches the backends of these ids. Those that are silent never answer."""

    reachable_ids: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def reachable(self, backend: Backend) -> bool:
        self.asked.append(backend.backend_id)
        if backend.backend_id in self.silent:
            await asyncio.Event().wait()
        return backend.backend_id in self.reachable_ids


async def catalog_of(*names: str) -> DocumentCatalog:
    catalog = DocumentCatalog(InMemoryDocuments())
    for name in names:
        backend = Backend(backend_id=name, endpoint="https://x", upstream_deployment="d", model="m", region="r")
        await catalog.put_backend(backend, told())
    return catalog


def always(state: PartState) -> Check:
    async def check() -> PartState:
        return state

    return check


@pytest.mark.parametrize(
    ("failed", "readiness"),
    [
        ((), Readiness.READY),
        (("backends",), Readiness.DEGRADED),
        (("timers", "vault"), Readiness.DEGRADED),
        *(((part,), Readiness.NOT_READY) for part in sorted(REQUIRED)),
        (("backends", "ledger"), Readiness.NOT_READY),
    ],
)
async def test_only_required_parts_make_a_process_not_ready(failed: tuple[str, ...], readiness: Readiness) -> None:
    parts = ("configuration", "ledger", "identity", "vault", "backends", "timers")
    checks = {part: always(FAILED if part in failed else UNUSED if part == "vault" else OK) for part in parts}
    states = await CheckReadiness(checks, ManualClock())()
    assert (states.readiness, states.failed) == (readiness, [*failed])


async def test_a_check_that_is_silent_fails_and_holds_up_no_other() -> None:
    async def silent() -> PartState:
        await asyncio.Event().wait()
        return OK

    states = await CheckReadiness({"ledger": silent, "timers": always(OK)}, ManualClock(), 0.01)()
    assert states == PartStates({"ledger": FAILED, "timers": OK})


async def test_a_defect_in_a_check_is_logged_and_fails_its_part_alone(caplog: pytest.LogCaptureFixture) -> None:
    message = "a message may quote content"

    async def broken() -> PartState:
        raise KeyError(message)

    async def down() -> PartState:
        raise LedgerUnavailable

    states = await CheckReadiness({"vault": broken, "ledger": down, "timers": always(OK)}, ManualClock())()
    assert states == PartStates({"vault": FAILED, "ledger": FAILED, "timers": OK})
    assert [each.message.split()[0] for each in caplog.records] == ["gateway.check.failed"]
    assert message not in caplog.text


async def test_a_result_is_kept_for_some_seconds() -> None:
    clock, calls = ManualClock(), []

    async def count() -> PartState:
        calls.append(1)
        return OK

    readiness = CheckReadiness({"ledger": count}, clock)
    for _ in range(5):
        await readiness()
    assert len(calls) == 1
    clock.seconds += 26
    await readiness()
    assert len(calls) == 2


async def test_the_ledger_and_the_configuration_are_read() -> None:
    clock, chain = ManualClock(), HashChain(KeyRing(keys={"0": b"test"}))
    stores = [FaultyStore(InMemoryTableStore(), is_down=is_down) for is_down in (False, True)]
    checks = {
        "up": ledger_check(TableLedger(stores[0], chain, clock), clock),
        "down": ledger_check(TableLedger(stores[1], chain, clock), clock),
        "read": configuration_check(await catalog_of()),
        "unread": configuration_check(UnreachableCatalog(InMemoryDocuments())),
    }
    states = await CheckReadiness(checks, clock)()
    assert states == PartStates({"up": OK, "down": FAILED, "read": OK, "unread": FAILED})


async def test_an_identity_is_checked_where_storage_needs_one() -> None:
    async def token() -> str:
        return "t"

    async def refused() -> str:
        raise StorageUnavailable

    checks = {"none": identity_check(None), "given": identity_check(token), "refused": identity_check(refused)}
    states = await CheckReadiness(checks, ManualClock())()
    assert states == PartStates({"none": UNUSED, "given": OK, "refused": FAILED})


async def test_the_vault_has_failed_if_a_secret_is_missing_or_was_not_read_for_long() -> None:
    secrets = Held({"young"}, {"old"})
    with pytest.raises(SecretUnavailable):
        await vault_check(secrets, ("missing",))()
    assert [await vault_check(secrets, names)() for names in ((), ("young",), ("young", "old"))] == [UNUSED, OK, FAILED]


async def test_one_backend_that_answers_is_enough_even_if_others_are_silent() -> None:
    probe = Probe({"b"}, silent={"a"})
    check = BackendsCheck(await catalog_of("a", "b", "c"), probe)
    assert await check() is OK
    probe.asked.clear()
    assert await check() is OK
    assert probe.asked == ["b"]


async def test_a_backend_that_falls_silent_hides_the_others_once_only() -> None:
    probe, clock = Probe({"a", "b"}), ManualClock()
    readiness = CheckReadiness({"backends": BackendsCheck(await catalog_of("a", "b"), probe)}, clock, 0.05)
    assert (await readiness()).parts == {"backends": OK}
    probe.silent = {probe.asked[0]} if len(probe.asked) == 1 else {"a"}
    probe.reachable_ids = {"a", "b"} - probe.silent
    states = []
    for _ in range(3):
        clock.seconds += 26
        states.append((await readiness()).parts["backends"])
    assert states[1:] == [OK, OK]


async def test_all_others_are_asked_once_the_last_one_is_gone() -> None:
    probe = Probe({"a"})
    check = BackendsCheck(await catalog_of("a", "b"), probe)
    assert await check() is OK
    probe.reachable_ids = {"b"}
    assert await check() is OK
    probe.reachable_ids = set()
    assert await check() is FAILED
    assert await BackendsCheck(await catalog_of(), probe)() is FAILED
