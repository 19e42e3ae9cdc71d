"""Callers of tokens are found by an index that is cached and derived; the tenant's document decides."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from shared.adapters.documents.jobs import DocumentCursors
from shared.adapters.documents.principals import DocumentPrincipals
from shared.adapters.documents.store import Document
from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.ports.tenancy import TenantPage
from shared.application.sweep import Sweep, SweepFailed
from shared.application.tenancy.index_principals import IndexPrincipals, ReconcilePrincipals
from shared.application.tenancy.memberships import Memberships
from shared.domain.errors import InsufficientRole, InvalidRequest, StorageUnavailable, TenantsDamaged
from shared.domain.identity.access_token import AccessTokenClaims
from shared.domain.identity.role import Role
from shared.domain.tenancy.entra_principals import EntraPrincipal, PrincipalKind, PrincipalName
from shared.domain.tenancy.tenant import Tenant, TenantState
from tests.tools.events import told
from tests.tools.known_tokens import DIRECTORY, PERSON, person_claims
from tests.tools.ledgers import NOW, ManualClock

SOURCE = "203.0.113.7"
GROUP = "66666666-6666-4666-8666-666666666666"
ANN = EntraPrincipal(directory_id=DIRECTORY, kind=PrincipalKind.PERSON, id=PERSON, role=Role.TENANT_USE)
STAFF = EntraPrincipal(directory_id=DIRECTORY, kind=PrincipalKind.GROUP, id=GROUP, role=Role.TENANT_USE)


class CountedDocuments(InMemoryDocuments):
    """Counts readings of the index and of tenants, and waits or fails if a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.partitions = 0
        self.tables = 0
        self.tenants = 0
        self.is_down = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, table: str, partition: str, key: str) -> Document | None:
        self.tenants += table == "tenants"
        if self.is_down:
            raise StorageUnavailable
        return await super().get(table, partition, key)

    async def list(
        self,
        table: str,
        *,
        partition: str | None = None,
        after: str = "",
        before: str = "",
        limit: int | None = None,
    ) -> list[Document]:
        if table == "principals":
            self.partitions += partition is not None
            self.tables += partition is None
            await self.gate.wait()
            if self.is_down:
                raise StorageUnavailable
        return await super().list(table, partition=partition, after=after, before=before, limit=limit)


@dataclass(slots=True)
class Process:
    """The memberships of one process. Processes share documents and the clock."""

    documents: CountedDocuments = field(default_factory=CountedDocuments)
    clock: ManualClock = field(default_factory=ManualClock)
    max_known: int = 10_000
    tenants: DocumentTenants = field(init=False)
    principals: DocumentPrincipals = field(init=False)
    memberships: Memberships = field(init=False)

    def __post_init__(self) -> None:
        self.tenants = DocumentTenants(self.documents)
        self.principals = DocumentPrincipals(self.documents)
        self.memberships = Memberships(self.tenants, self.principals, self.clock, self.max_known)

    async def store(self, tenant_id: str, *principals: EntraPrincipal, state: TenantState = TenantState.ACTIVE) -> None:
        """Store a tenant that names these principals, as another process would."""
        tenant = Tenant(tenant_id=tenant_id, name=tenant_id, created_at=NOW, entra_principals=principals, state=state)
        found = await self.tenants.get(tenant_id)
        elsewhere = Memberships(self.tenants, self.principals, self.clock)
        async with IndexPrincipals(self.principals, elsewhere)(found.value if found else None, tenant):
            event = told(after=tenant)
            await (self.tenants.insert(tenant, event) if found is None else self.tenants.replace(tenant, "*", event))

    async def tenant_of(self, claims: AccessTokenClaims, wanted: str = "", source: str = SOURCE) -> str:
        """Return the tenant for which a caller acts; an empty text if it is refused."""
        try:
            return (await self.memberships.find(claims, wanted, lambda: source)).tenant.tenant_id
        except InsufficientRole:
            return ""

    async def reconcile(self) -> int:
        sweep = Sweep(DocumentCursors(InMemoryDocuments()), self.clock, 60)
        return await ReconcilePrincipals(self.tenants, self.principals, sweep)()


ANNS_TOKEN = person_claims()


def person(number: int) -> AccessTokenClaims:
    return person_claims(object_id=f"33333333-3333-4333-8333-{number:012}")


async def test_a_caller_acts_for_the_tenant_that_names_it() -> None:
    process = Process()
    await process.store("acme", ANN)
    await process.store("globex", STAFF)
    assert await process.tenant_of(ANNS_TOKEN) == "acme"
    assert await process.tenant_of(person_claims(object_id="other", groups=frozenset({GROUP}))) == "globex"
    assert await process.tenant_of(person_claims(object_id="other")) == ""


async def test_a_caller_of_several_tenants_must_name_one() -> None:
    process = Process()
    await process.store("acme", ANN)
    await process.store("globex", STAFF)
    await process.store("initech")
    claims = person_claims(groups=frozenset({GROUP}))
    with pytest.raises(InvalidRequest, match="x-gateway-tenant") as refused:
        await process.tenant_of(claims)
    assert refused.value.param == "x-gateway-tenant"
    for tenant in ("acme", "globex"):
        assert await process.tenant_of(claims, tenant) == tenant


async def test_a_tenant_of_others_and_one_that_does_not_exist_are_refused_in_the_same_way() -> None:
    process = Process()
    await process.store("acme", ANN)
    await process.store("initech", STAFF)
    messages = set()
    process.documents.tenants = 0
    for wanted in ("initech", "nobody", "?"):
        with pytest.raises(InsufficientRole) as refused:
            await process.memberships.find(ANNS_TOKEN, wanted, lambda: SOURCE)
        messages.add(str(refused.value))
    assert len(messages) == 1
    assert process.documents.tenants == 0  # nor by the time that it takes


async def test_a_closed_tenant_counts_if_there_is_no_other() -> None:
    process = Process()
    await process.store("closed", ANN, state=TenantState.CLOSED)
    assert await process.tenant_of(ANNS_TOKEN) == "closed"
    await process.store("open", ANN, state=TenantState.SUSPENDED)
    process.clock.seconds += 30
    assert await process.tenant_of(ANNS_TOKEN) == "open"
    assert await process.tenant_of(ANNS_TOKEN, "closed") == "closed"


async def test_not_all_tenants_are_read_to_find_that_there_are_several() -> None:
    process = Process()
    for number in range(50):
        await process.store(f"t{number}", ANN)
    process.documents.tenants = 0
    with pytest.raises(InvalidRequest):
        await process.tenant_of(ANNS_TOKEN)
    assert process.documents.tenants == 2


async def test_a_token_without_groups_because_there_are_too_many_is_refused_with_the_reason() -> None:
    process = Process()
    for has_overage in (True, False):
        with pytest.raises(InsufficientRole) as refused:
            await process.memberships.find(person_claims(has_group_overage=has_overage), "", str)
        assert ("names no groups" in str(refused.value)) == has_overage


async def test_the_groups_of_a_legacy_token_are_not_looked_at() -> None:
    process = Process()
    await process.store("globex", STAFF)
    claims = person_claims(is_legacy_audience=True, groups=frozenset({GROUP}))
    assert await process.tenant_of(claims) == ""


async def test_a_row_without_its_document_gives_nothing() -> None:
    process = Process()
    await process.store("acme")
    for tenant in ("acme", "nobody"):
        await process.principals.put(ANN.name, tenant)
    for wanted in ("", "acme", "nobody"):
        assert await process.tenant_of(ANNS_TOKEN, wanted) == ""


async def test_changes_of_other_processes_are_noticed_within_25_seconds() -> None:
    process = Process()
    await process.store("acme")
    assert await process.tenant_of(ANNS_TOKEN) == ""
    await process.store("acme", ANN)
    process.clock.seconds += 25
    assert await process.tenant_of(ANNS_TOKEN) == "acme"
    await process.store("acme")
    process.clock.seconds += 25
    assert await process.tenant_of(ANNS_TOKEN) == ""
    await process.store("globex", STAFF)
    claims = person_claims(groups=frozenset({GROUP}))
    process.clock.seconds += 25
    assert await process.tenant_of(claims) == "globex"


async def test_changes_of_this_process_hold_at_once() -> None:
    process = Process()
    index = IndexPrincipals(process.principals, process.memberships)
    claims = person_claims(groups=frozenset({GROUP}))
    await process.store("acme")
    assert await process.tenant_of(claims) == ""
    found = await process.tenants.get("acme")
    assert found is not None
    before = found.value
    for principals, expected in (((ANN,), "acme"), ((STAFF,), "acme"), ((), "")):
        after = replace(before, entra_principals=principals)
        async with index(before, after):
            await process.tenants.replace(after, "*", told(after=after))
        assert await process.tenant_of(claims) == expected
        before = after


async def test_callers_who_belong_nowhere_are_looked_up_rarely() -> None:
    process = Process()
    for _ in range(100):
        assert await process.tenant_of(ANNS_TOKEN) == ""
    assert process.documents.partitions == 1
    for number in range(1000):
        assert await process.tenant_of(person(number)) == ""
    assert (process.documents.partitions, process.documents.tables) == (10, 1)


async def test_a_member_is_found_also_when_many_others_of_its_network_are_not() -> None:
    process = Process()
    for number in range(100):
        await process.tenant_of(person(number))
    await process.store("acme", ANN)
    process.clock.seconds += 25
    assert await process.tenant_of(ANNS_TOKEN) == "acme"


async def test_many_requests_of_a_caller_look_it_up_once() -> None:
    process = Process()
    await process.store("acme", ANN, STAFF)
    process.documents.gate.clear()
    claims = person_claims(groups=frozenset({GROUP}))
    asked = [asyncio.create_task(process.tenant_of(claims)) for _ in range(50)]
    await asyncio.sleep(0)
    process.documents.gate.set()
    assert set(await asyncio.gather(*asked)) == {"acme"}
    assert (process.documents.partitions, process.documents.tenants) == (2, 2)  # one reading of each to store it


async def test_a_known_caller_costs_no_reading() -> None:
    process = Process()
    await process.store("acme", ANN)
    await process.tenant_of(ANNS_TOKEN)
    process.documents.is_down = True
    for seconds in (0, 5, 5, 5, 5):
        process.clock.seconds += seconds
        assert await process.tenant_of(ANNS_TOKEN) == "acme"
    process.clock.seconds += 5
    with pytest.raises(StorageUnavailable):
        await process.tenant_of(ANNS_TOKEN)


async def test_a_limited_number_of_tenants_is_remembered() -> None:
    process = Process(max_known=2)
    for tenant in ("a", "b", "c"):
        await process.store(tenant, ANN)
        assert await process.tenant_of(ANNS_TOKEN, tenant) == tenant
        process.memberships.forget("", [ANN.name])
    assert [*process.memberships._named] == ["b", "c"]


async def test_missing_rows_are_added_and_stale_ones_removed() -> None:
    process = Process()
    await process.store("acme", ANN, STAFF)
    await process.store("globex", ANN)
    assert await process.reconcile() == 0
    await process.principals.remove(ANN.name, "acme")
    await process.principals.remove(STAFF.name, "acme")
    for tenant in ("globex", "nobody"):
        await process.principals.put(STAFF.name, tenant)
    await process.store("globex")
    assert await process.reconcile() == 5
    assert await process.principals.rows() == {"acme": {ANN.name, STAFF.name}}
    assert await process.reconcile() == 0


class ListedBefore(DocumentTenants):
    """Has a tenant name the principal again when it was listed."""

    def __init__(self, process: Process) -> None:
        super().__init__(process.documents)
        self.process = process

    async def list_readable(self, limit: int, cursor: str | None) -> tuple[TenantPage, str | None]:
        page = await super().list_readable(limit, cursor)
        await self.process.store("acme", ANN)
        return page


class RemovedMeanwhile(DocumentPrincipals):
    """Has a tenant name the principal again before its stale row is removed, or after."""

    def __init__(self, process: Process, *, is_after: bool) -> None:
        super().__init__(process.documents)
        self.process = process
        self.is_after = is_after

    async def remove(self, name: PrincipalName, tenant_id: str) -> None:
        if self.is_after:
            await super().remove(name, tenant_id)
        await self.process.store("acme", ANN)
        if not self.is_after:
            await super().remove(name, tenant_id)


@pytest.mark.parametrize("moment", ["listed", "checked", "removed"])
async def test_a_row_whose_tenant_names_it_again_meanwhile_stays(moment: str) -> None:
    process = Process()
    await process.store("acme")
    await process.principals.put(ANN.name, "acme")
    sweep = Sweep(DocumentCursors(InMemoryDocuments()), process.clock, 60)
    tenants = ListedBefore(process) if moment == "listed" else process.tenants
    index = process.principals if moment == "listed" else RemovedMeanwhile(process, is_after=moment == "removed")
    assert await ReconcilePrincipals(tenants, index, sweep)() == 0
    assert await process.principals.rows() == {"acme": {ANN.name}}


async def test_rows_of_a_tenant_whose_document_cannot_be_read_stay() -> None:
    process = Process()
    await process.store("acme", ANN)
    await process.documents.put("tenants", "acme", "tenant", "{")
    with pytest.raises(SweepFailed):
        await process.reconcile()
    assert await process.principals.rows() == {"acme": {ANN.name}}


async def test_a_tenant_whose_document_is_damaged_is_named_unless_the_caller_names_another() -> None:
    process = Process()
    await process.store("acme", ANN)
    await process.documents.put("tenants", "acme", "tenant", "{")
    with pytest.raises(TenantsDamaged, match="acme"):
        await process.tenant_of(ANNS_TOKEN)
    await process.store("globex", ANN)
    process.memberships.forget("globex", [ANN.name])
    with pytest.raises(InvalidRequest, match="x-gateway-tenant"):
        await process.tenant_of(ANNS_TOKEN)
    assert await process.tenant_of(ANNS_TOKEN, "globex") == "globex"
    with pytest.raises(TenantsDamaged, match="acme"):
        await process.tenant_of(ANNS_TOKEN, "acme")
