"""Two processes give a user one alias, ask storage once, and notice an erasure."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from shared.adapters.documents.audit import DocumentOutbox
from shared.adapters.documents.pseudonyms import PSEUDONYMS_TABLE, DocumentPseudonyms
from shared.adapters.documents.store import Document
from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.secrets import StatedSecrets
from shared.application.audit.record_audit import Actor, RecordAudit
from shared.application.ports.secrets import SecretVersion
from shared.application.tenancy.manage_pseudonyms import ManagePseudonyms
from shared.application.tenancy.privacy_keys import PrivacyKeys
from shared.application.tenancy.pseudonymise_users import PseudonymiseUsers
from shared.domain.errors import NotFound, SecretUnavailable, StorageUnavailable
from shared.domain.tenancy import pseudonyms as rules
from shared.domain.tenancy.tenant import Tenant
from tests.tools.events import told, waiting
from tests.tools.ledgers import NOW, ManualClock

ACTOR = Actor(name="test")


class Storage(InMemoryDocuments):
    """Counts what is read, lets other tasks run before each answer, and fails if a test says so."""

    gets = 0
    is_down = False

    async def get(self, table: str, partition: str, key: str) -> Document | None:
        self.gets += 1
        await asyncio.sleep(0)
        if self.is_down:
            raise StorageUnavailable
        return await super().get(table, partition, key)


class Versions(StatedSecrets):
    """A secret with several versions, oldest first."""

    def __init__(self, *values: str) -> None:
        super().__init__({"key": values[-1]})
        self.values = values

    async def versions(self, name: str) -> list[SecretVersion]:
        return [SecretVersion(version=str(n), created_at=NOW, value=each) for n, each in enumerate(self.values)]


@dataclass(slots=True)
class Process:
    """One process over storage that others share."""

    storage: Storage = field(default_factory=Storage)
    secrets: StatedSecrets = field(default_factory=lambda: Versions("a" * 32))
    clock: ManualClock = field(default_factory=ManualClock)
    max_known: int = 100
    users: PseudonymiseUsers = field(init=False)
    manage: ManagePseudonyms = field(init=False)

    def __post_init__(self) -> None:
        keys, pseudonyms = PrivacyKeys(self.secrets, "key"), DocumentPseudonyms(self.storage)
        self.users = PseudonymiseUsers(pseudonyms, keys, self.clock, self.max_known)
        audit = RecordAudit(DocumentOutbox(self.storage), self.clock)
        self.manage = ManagePseudonyms(pseudonyms, DocumentTenants(self.storage), keys, self.users, audit, self.clock)

    def another(self, *values: str) -> Process:
        return Process(storage=self.storage, secrets=Versions(*values) if values else self.secrets, clock=self.clock)

    async def of(self, user: str, tenant: str = "acme") -> str:
        return await self.users.alias(tenant, user)

    async def rows(self) -> int:
        return len(await self.storage.list(PSEUDONYMS_TABLE))


@pytest.fixture
async def one() -> Process:
    process = Process()
    await DocumentTenants(process.storage).insert(Tenant(tenant_id="acme", name="A", created_at=NOW), told())
    return process


async def test_processes_that_meet_a_user_at_once_agree(one: Process) -> None:
    processes = [one, one.another(), one.another()]
    found = await asyncio.gather(*(each.of(user) for _ in range(5) for each in processes for user in ("ann", "bob")))
    assert len(set(found)) == 2
    assert await one.rows() == 3  # and the state
    assert (await DocumentPseudonyms(one.storage).state("acme")).value.created == 2


async def test_only_the_first_request_of_a_user_asks_storage(one: Process) -> None:
    alias = await one.of("ann")
    gets = one.storage.gets
    assert [await one.of("ann") for _ in range(5)] == [alias] * 5
    assert one.storage.gets == gets


async def test_the_memory_is_bounded(one: Process) -> None:
    small = Process(storage=one.storage, max_known=2)
    aliases = [await small.of(user) for user in ("ann", "bob", "cat")]
    gets = one.storage.gets
    assert [await small.of(user) for user in ("bob", "cat")] == aliases[1:]
    assert one.storage.gets == gets
    assert await small.of("ann") == aliases[0]
    assert one.storage.gets > gets


async def test_aliases_of_two_tenants_and_of_an_alias_are_unrelated(one: Process) -> None:
    alias = await one.of("ann")
    others = [await one.of("ann", "blue"), await one.of(alias), await one.of(rules.SHARED_ALIAS)]
    assert len({alias, *others, rules.SHARED_ALIAS}) == 5


async def test_an_erased_user_gets_a_new_alias_in_all_processes_within_25_s(one: Process) -> None:
    two = one.another()
    old = await one.of("ann")
    bob = await one.of("bob")
    assert await two.of("ann") == old
    assert await one.manage.look_up("acme", "ann", ACTOR) == [old]
    await one.manage.erase("acme", "ann", ACTOR)
    new = await one.of("ann")
    assert new != old
    assert await two.of("ann") == old
    one.clock.seconds = 25
    assert await two.of("ann") == new
    assert await two.of("bob") == await one.of("bob") == bob


async def test_what_was_erased_is_found_by_nobody(one: Process) -> None:
    alias = await one.of("ann")
    await one.manage.erase("acme", "ann", ACTOR)
    for act in (one.manage.look_up, one.manage.erase):
        with pytest.raises(NotFound):
            await act("acme", "ann", ACTOR)
        with pytest.raises(NotFound):
            await act("nobody", "ann", ACTOR)
    events = [each for each in await waiting(one.storage) if each["action"].startswith("user.")]
    assert [each["action"] for each in events] == ["user.erase"]
    stored = f"{events} {await one.storage.list(PSEUDONYMS_TABLE)}"
    assert "ann" not in stored
    assert alias not in stored


async def test_an_erasure_and_requests_at_once_leave_one_alias_at_most(one: Process) -> None:
    for _ in range(20):
        two = one.another()
        await one.of("ann")
        await asyncio.gather(
            *(process.of(user) for process in (one, two) for user in ("ann", "bob", "ann")),
            one.manage.erase("acme", "ann", ACTOR),
        )
        one.clock.seconds += 25
        assert await one.of("ann") == await two.of("ann")
        assert await one.manage.look_up("acme", "ann", ACTOR) == [await one.of("ann")]


async def test_an_alias_that_was_read_before_an_erasure_is_not_kept(one: Process) -> None:
    two = one.another()
    old = await one.of("ann")
    await two.of("bob")  # it knows the state
    reading = asyncio.create_task(two.of("ann"))
    await asyncio.sleep(0)
    await one.manage.erase("acme", "ann", ACTOR)
    await reading
    one.clock.seconds = 25
    assert await two.of("ann") == await one.of("ann") != old


async def test_beyond_a_number_in_a_day_users_share_an_alias(one: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_NEW_PER_DAY", 3)
    two = one.another()
    own = await asyncio.gather(*(each.of(f"user-{number}") for number in range(3) for each in (one, two)))
    assert rules.SHARED_ALIAS not in own
    for process in (one, two):
        assert {await process.of(f"invented-{number}") for number in range(20)} == {rules.SHARED_ALIAS}
    assert await one.rows() == 4
    assert await one.another().of("user-1") in own
    gets = one.storage.gets
    await one.of("invented-1")
    assert one.storage.gets == gets
    assert await one.of("ann", "blue") != rules.SHARED_ALIAS
    one.clock.seconds = 25  # the process learns that the day is full: it asks for known users only
    gets = one.storage.gets
    assert await one.of("invented-20") == rules.SHARED_ALIAS
    assert one.storage.gets == gets + 2
    one.clock.seconds = timedelta(days=1).total_seconds()
    assert await one.of("invented-1") != rules.SHARED_ALIAS


async def test_aliases_outlive_a_rotation_of_the_key_while_its_old_version_is_enabled(one: Process) -> None:
    alias = await one.of("ann")
    rotated = one.another("a" * 32, "b" * 32)
    assert await rotated.of("ann") == alias
    assert await rotated.manage.look_up("acme", "ann", ACTOR) == [alias]
    without = one.another("b" * 32)
    assert (new := await without.of("ann")) != alias
    assert await one.another("a" * 32, "b" * 32).manage.look_up("acme", "ann", ACTOR) == [new, alias]
    await one.another("a" * 32, "b" * 32).manage.erase("acme", "ann", ACTOR)
    assert await one.rows() == 1


async def test_without_storage_or_key_there_is_no_alias(one: Process) -> None:
    with pytest.raises(SecretUnavailable):
        await PseudonymiseUsers(DocumentPseudonyms(one.storage), PrivacyKeys(StatedSecrets({}), ""), one.clock).alias(
            "acme", "ann"
        )
    with pytest.raises(SecretUnavailable):
        await PrivacyKeys(StatedSecrets({}), "").newest()
    one.storage.is_down = True
    with pytest.raises(StorageUnavailable):
        await one.of("ann")
