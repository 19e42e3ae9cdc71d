"""Callers are found by keys that are cached; unknown keys cost little."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from shared.adapters.documents.principals import DocumentPrincipals
from shared.adapters.documents.pseudonyms import DocumentPseudonyms
from shared.adapters.documents.store import Document
from shared.adapters.documents.tenancy import DocumentKeys, DocumentTenants
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.secrets import StatedSecrets
from shared.application.background import Background
from shared.application.ports.identity import TokenVerifier
from shared.application.tenancy.admin_key import AdminKey
from shared.application.tenancy.authenticate import Authenticate, BearerCredential
from shared.application.tenancy.memberships import Memberships
from shared.application.tenancy.principals import ADMIN_KEY_PRINCIPAL, TenantPrincipal, TokenPrincipal
from shared.application.tenancy.privacy_keys import PrivacyKeys
from shared.application.tenancy.pseudonymise_users import PseudonymiseUsers
from shared.domain.errors import InvalidApiKey, InvalidToken, StorageUnavailable
from shared.domain.tenancy.keys import new_gateway_key
from shared.domain.tenancy.lookup_budget import LookupBudget, network_of
from shared.domain.tenancy.tenant import Tenant
from tests.tools.events import told
from tests.tools.known_tokens import (
    APPLICATION,
    DIRECTORY,
    PERSON,
    KnownTokens,
    application_claims,
    person_claims,
)
from tests.tools.ledgers import NOW, ManualClock
from tests.tools.watched_keys import watch_of

SOURCE = "203.0.113.7"


class CountedDocuments(InMemoryDocuments):
    """Counts what is read, and waits or fails if a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gets = 0
        self.lists = 0
        self.is_down = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, table: str, partition: str, key: str) -> Document | None:
        self.gets += table == "credentials"
        await self.gate.wait()
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
        self.lists += 1
        return await super().list(table, partition=partition, after=after, before=before, limit=limit)


@dataclass(slots=True)
class Keys:
    """Authentication over counted storage, with a clock that stands still."""

    admin_key: str = ""
    max_known: int = 10_000
    tokens: TokenVerifier | None = None
    documents: CountedDocuments = field(default_factory=CountedDocuments)
    clock: ManualClock = field(default_factory=ManualClock)
    authenticate: Authenticate = field(init=False)

    def __post_init__(self) -> None:
        tenants, keys = DocumentTenants(self.documents), DocumentKeys(self.documents)
        admin_key = AdminKey(StatedSecrets({"ADMIN_API_KEY": self.admin_key}), "ADMIN_API_KEY")
        watch = watch_of(self.documents, self.clock, Background())
        memberships = Memberships(tenants, DocumentPrincipals(self.documents), self.clock)
        privacy_keys = PrivacyKeys(StatedSecrets({}), "")
        users = PseudonymiseUsers(DocumentPseudonyms(self.documents), privacy_keys, self.clock)
        self.authenticate = Authenticate(
            tenants, keys, self.clock, admin_key, watch, self.tokens, memberships, users, self.max_known
        )

    async def store(self, tenant: str = "acme") -> str:
        """Store a key and its tenant without the knowledge of this process. Returns the credential."""
        key, credential = new_gateway_key(tenant, NOW, None)
        await DocumentTenants(self.documents).insert(Tenant(tenant_id=tenant, name=tenant, created_at=NOW), told())
        await DocumentKeys(self.documents).insert(key, told())
        return credential

    async def refuse(self, credential: str, source: str = SOURCE) -> None:
        with pytest.raises(InvalidApiKey):
            await self.authenticate.identify(credential, lambda: source)

    async def accept(self, credential: str, source: str = SOURCE) -> None:
        principal = await self.authenticate.identify(credential, lambda: source)
        assert isinstance(principal, TenantPrincipal)


def unknown_key(tenant: str = "acme") -> str:
    """Return a key of the right form and with the right checksum, which is stored nowhere."""
    return new_gateway_key(tenant, NOW, None)[1]


async def test_ill_formed_keys_never_reach_storage() -> None:
    keys = Keys()
    _, credential = new_gateway_key("acme", NOW, None)
    for wrong in (credential[:-1] + "!", credential + "x", "tg_acme-1_x", f"tg_acme-00000000_{'x' * 60_000}", "x"):
        await keys.refuse(wrong)
    assert (keys.documents.gets, keys.documents.lists) == (0, 0)


async def test_unknown_keys_of_one_source_are_looked_up_ten_times_a_minute() -> None:
    keys = Keys()
    for _ in range(1000):
        await keys.refuse(unknown_key())
    assert (keys.documents.gets, keys.documents.lists) == (10, 1)
    keys.clock.seconds += 61
    for _ in range(1000):
        await keys.refuse(unknown_key())
    assert (keys.documents.gets, keys.documents.lists) == (20, 2)


async def test_unknown_keys_of_many_sources_are_looked_up_a_hundred_times_a_minute() -> None:
    keys = Keys()
    for number in range(1000):
        await keys.refuse(unknown_key(f"tenant-{number}"), f"2001:db8:0:{number:x}::1")
    assert (keys.documents.gets, keys.documents.lists) == (100, 1)


async def test_nobody_is_locked_out_by_others_of_the_same_source() -> None:
    keys = Keys()
    known = await keys.store("known")
    await keys.accept(known)
    for _ in range(1000):
        await keys.refuse(unknown_key())
    await keys.accept(known)
    keys.clock.seconds += 30
    for tenant in ("new", "newer"):  # also keys that this process has never seen, and that are younger than the attack
        await keys.accept(await keys.store(tenant))
        keys.clock.seconds += 30


async def test_unknown_keys_do_not_push_out_known_ones() -> None:
    keys = Keys(max_known=2)
    known = await keys.store()
    await keys.accept(known)
    for number in range(5):
        await keys.refuse(unknown_key(), f"203.0.113.{number}")
    gets = keys.documents.gets
    await keys.accept(known)
    assert keys.documents.gets == gets
    assert len(keys.authenticate._look_ups._unknown) == 2


async def test_a_limited_number_of_known_keys_is_remembered() -> None:
    keys = Keys(max_known=2)
    for tenant in ("a", "b", "c"):
        await keys.accept(await keys.store(tenant))
    assert [tenant for tenant, _ in keys.authenticate._look_ups.known] == ["b", "c"]


async def test_an_unknown_key_is_asked_for_again_after_ten_seconds() -> None:
    keys = Keys()
    key, credential = new_gateway_key("acme", NOW, None)
    for _ in range(100):
        await keys.refuse(credential)
    assert keys.documents.gets == 1
    await DocumentTenants(keys.documents).insert(Tenant(tenant_id="acme", name="Acme", created_at=NOW), told())
    await DocumentKeys(keys.documents).insert(key, told())
    keys.clock.seconds += 10
    await keys.accept(credential)


async def test_a_key_that_this_process_stores_is_valid_at_once() -> None:
    keys = Keys()
    key, credential = new_gateway_key("acme", NOW, None)
    for _ in range(20):
        await keys.refuse(unknown_key("other"))
    await keys.refuse(credential)
    await DocumentTenants(keys.documents).insert(Tenant(tenant_id="acme", name="Acme", created_at=NOW), told())
    await DocumentKeys(keys.documents).insert(key, told())
    keys.authenticate.forget("acme")
    await keys.accept(credential)


async def test_a_key_that_was_forgotten_while_it_was_negative_is_valid_at_once() -> None:
    keys = Keys()
    key, credential = new_gateway_key("acme", NOW, None)
    await keys.refuse(credential)
    await DocumentTenants(keys.documents).insert(Tenant(tenant_id="acme", name="Acme", created_at=NOW), told())
    await DocumentKeys(keys.documents).insert(key, told())
    keys.authenticate.forget("acme")
    await keys.accept(credential)


async def test_many_callers_with_one_key_look_it_up_once() -> None:
    keys = Keys()
    known, unknown = await keys.store(), unknown_key()
    keys.documents.gate.clear()
    accepted = [asyncio.create_task(keys.accept(known)) for _ in range(50)]
    refused = [asyncio.create_task(keys.refuse(unknown)) for _ in range(50)]
    await asyncio.sleep(0)
    keys.documents.gate.set()
    await asyncio.gather(*accepted, *refused)
    assert keys.documents.gets == 2


async def test_keys_that_are_found_cost_no_budget() -> None:
    keys = Keys()
    for number in range(150):
        await keys.accept(await keys.store(f"tenant-{number}"))
    assert (keys.documents.gets, keys.documents.lists) == (150, 0)


async def test_a_look_up_that_fails_counts_and_leaves_nothing_behind() -> None:
    keys = Keys()
    known = await keys.store()
    keys.documents.is_down = True
    with pytest.raises(StorageUnavailable):
        await keys.authenticate.identify(known, str)
    keys.documents.is_down = False
    await keys.accept(known)


async def test_no_key_is_an_administrator_without_an_admin_key() -> None:
    for credential in ("", "x"):
        await Keys().refuse(credential)
    for admin_key in ("the-admin-key", unknown_key()):
        keys = Keys(admin_key=admin_key)
        with pytest.raises(InvalidApiKey):
            await keys.authenticate.identify(None, str)
        assert await keys.authenticate.identify(admin_key, str) is ADMIN_KEY_PRINCIPAL
        await keys.refuse(admin_key + "x")


async def test_a_bearer_token_is_taken_to_its_verifier_and_a_token_in_place_of_a_key_is_none() -> None:
    tokens = KnownTokens()
    claims = person_claims()
    token = tokens.issue(claims)
    keys = Keys(tokens=tokens)
    assert await keys.authenticate.identify(BearerCredential(token), str) == TokenPrincipal(claims)
    with pytest.raises(InvalidToken):
        await keys.authenticate.identify(BearerCredential(token + "x"), str)
    await keys.refuse(token)


async def test_tokens_are_refused_where_entra_is_not_configured() -> None:
    with pytest.raises(InvalidToken, match="not configured"):
        await Keys().authenticate.identify(BearerCredential(KnownTokens().issue(person_claims())), str)


async def test_keys_and_the_admin_key_are_accepted_as_bearer_credentials() -> None:
    keys = Keys(admin_key="the-admin-key", tokens=KnownTokens())
    await keys.accept(BearerCredential(await keys.store()))
    assert await keys.authenticate.identify(BearerCredential("the-admin-key"), str) is ADMIN_KEY_PRINCIPAL


def test_callers_of_tokens_are_named_by_kind_id_and_directory() -> None:
    assert TokenPrincipal(person_claims()).actor == f"person:{PERSON}@{DIRECTORY}"
    assert TokenPrincipal(application_claims()).actor == f"application:{APPLICATION}@{DIRECTORY}"


def test_sources_beyond_the_bound_are_forgotten_and_the_process_is_bounded_all_the_same() -> None:
    budget = LookupBudget(max_sources=2)
    for source in ("a", "b", "c"):
        assert budget.take(source, 0.0)
    budget.give_back("a")
    assert all(budget.take("a", 0.0) for _ in range(10))
    assert not budget.take("a", 0.0)
    assert budget.take("a", 6.0)


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_network_is_one_source(source: str, network: str) -> None:
    assert network_of(source) == network
