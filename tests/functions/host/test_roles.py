"""Every operation refuses every caller whose roles its row does not name, and every tenant but the caller's own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local.emulators.entra import EmulatedEntra
from local.emulators.entra_objects import Application, Person, SigningKey
from shared.domain.identity.role import OPERATOR_ROLES, Role
from shared.http.operation import Operation
from shared.http.operation_table import OPERATIONS
from tests.tools.entra import running_entra, settings_of
from tests.tools.stack import ADMIN_KEY, API_VERSION, Stack

COGNITIVE = "https://cognitiveservices.azure.com"
UNKNOWN = (401, "invalid_api_key")
INVALID = (401, "invalid_token")
FORBIDDEN = (403, "insufficient_role")
SUSPENDED = (403, "tenant_suspended")
SEVERAL = (400, "invalid_request")
OPEN_TO_SUSPENDED = {
    "/me", "/me/alerts", "/me/usage", "/me/entries", "/me/entries/{rid}/proof",
    "/openai/models", "/openai/v1/models", "/openai/v1/models/{model}",
}  # fmt: skip
"""A suspended tenant may still see its own settings, usage, entries and models."""
USER, TENANT_ADMIN = frozenset({Role.TENANT_USE}), frozenset({Role.TENANT_ADMIN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A credential, the roles that its holder has, and the tenants for which it has those of tenants."""

    credential: str
    header: str = "Authorization"
    roles: frozenset[Role] = frozenset()
    tenants: tuple[str, ...] = ()
    refusal: tuple[int, str] = FORBIDDEN
    """The answer of an operation that names none of the roles."""
    is_suspended: bool = False

    def headers(self, tenant: str) -> dict[str, str]:
        text = self.credential if self.header == "api-key" else f"Bearer {self.credential}"
        named = {"x-gateway-tenant": tenant} if tenant else {}
        return named | ({self.header: text} if self.credential else {})


@pytest.fixture
async def entra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[EmulatedEntra]:
    async with running_entra(monkeypatch, tmp_path) as running:
        yield running


@pytest.fixture
def stack_settings(entra: EmulatedEntra) -> dict[str, str]:
    return {**settings_of(entra), "ENTRA_LEGACY_AUDIENCES": COGNITIVE}


async def keys(stack: Stack, _: EmulatedEntra) -> dict[str, Caller]:
    """Make a caller with each kind of key."""
    revoked = await stack.register("revoked")
    (listed,) = (await stack.manage("GET", "/manage/tenants/revoked/keys"))["data"]
    await stack.manage("DELETE", f"/manage/tenants/revoked/keys/{listed['key_id']}")
    suspended = await stack.register("suspended")
    await stack.manage("POST", "/manage/tenants/suspended/suspend")
    path = f"/manage/tenants/{stack.tenant}/keys"
    reading = (await stack.manage("POST", path, {"scope": "usage.read"}))["key"]
    own, admin, reader = (stack.tenant,), frozenset({Role.ADMIN}), frozenset({Role.TENANT_USAGE_READ})
    return {
        "no key": Caller(credential="", refusal=UNKNOWN),
        "wrong key": Caller(credential=f"{stack.key}A", header="api-key", refusal=UNKNOWN),
        "revoked key": Caller(credential=revoked, header="api-key", refusal=UNKNOWN),
        "tenant key": Caller(credential=stack.key, header="api-key", roles=USER, tenants=own),
        "tenant key as bearer": Caller(credential=stack.key, roles=USER, tenants=own),
        "key for reading usage": Caller(credential=reading, header="api-key", roles=reader, tenants=own),
        "suspended tenant's key": Caller(
            credential=suspended, header="api-key", roles=USER, tenants=("suspended",), is_suspended=True
        ),
        "admin key": Caller(credential=ADMIN_KEY, header="api-key", roles=admin),
        "admin key as bearer": Caller(credential=ADMIN_KEY, roles=admin),
    }


async def tokens(stack: Stack, entra: EmulatedEntra) -> dict[str, Caller]:
    """Make a caller with a token of each role, of no role, and with names that are no roles of tokens."""
    application, person = entra.applications[0], entra.people[0]
    admin = replace(application, roles=(Role.ADMIN.value,))
    callers = {
        "token without roles": Caller(credential=entra.token_of(person)),
        "token of all roles": Caller(
            credential=entra.token_of(replace(person, roles=tuple(Role))), roles=OPERATOR_ROLES
        ),
        "token in place of a key": Caller(credential=entra.token_of(admin), header="api-key", refusal=UNKNOWN),
        "token signed by others": Caller(
            credential=entra.signed(entra.claims_of(admin), key=SigningKey.new()), refusal=INVALID
        ),
        "token for Azure OpenAI": Caller(
            credential=entra.signed({**entra.claims_of(admin, audience=COGNITIVE), "roles": ["Gateway.Admin"]})
        ),
    }
    for role in Role:
        token = entra.token_of(replace(application, roles=(role.value, "Other")))
        callers[f"token of {role}"] = Caller(credential=token, roles=frozenset({role}) & OPERATOR_ROLES)
    assert stack.tenant
    return callers


@dataclass(slots=True)
class Members:
    """Tenants that name principals of a directory, and the callers that these are."""

    stack: Stack
    entra: EmulatedEntra
    principals: defaultdict[str, list[dict[str, str]]] = field(default_factory=lambda: defaultdict(list))
    callers: dict[str, Caller] = field(default_factory=dict)

    def name(self, kind: str, id_: str, role: str, *tenants: str) -> None:
        named = {"directory_id": self.entra.directory_id, "kind": kind, "id": id_, "role": role}
        for tenant in tenants or (self.stack.tenant,):
            self.principals[tenant].append(named)

    def add(self, name: str, caller: Application | Person, roles: frozenset[Role], **fields: Any) -> None:
        fields = {"tenants": (self.stack.tenant,), **fields}
        self.callers[name] = Caller(credential=self.entra.token_of(caller), roles=roles, **fields)

    async def store(self) -> None:
        for tenant, principals in self.principals.items():
            path = f"/manage/tenants/{tenant}"
            await self.stack.manage("PATCH", path, {"entra_principals": principals})


async def members(stack: Stack, entra: EmulatedEntra) -> dict[str, Caller]:
    """Make a caller of each kind that a tenant can name, and of each role."""
    for tenant in ("suspended", "second", "closed"):
        await stack.register(tenant)
    made = Members(stack, entra)
    for role, roles in (("tenant.use", USER), ("tenant.admin", TENANT_ADMIN)):
        application, person, group = Application(), Person(), str(uuid4())
        made.name("application", application.client_id, role)
        made.name("person", person.object_id, role)
        made.name("group", group, role)
        made.add(f"application with {role}", application, roles)
        made.add(f"person with {role}", person, roles)
        made.add(f"member of a group with {role}", Person(groups=(str(uuid4()), group)), roles)
        user = replace(person, roles=("Gateway.Use",))
        made.add(f"person with {role} and Gateway.Use", user, roles | {Role.USE})
        reader = replace(person, roles=("Gateway.Billing.Read",))
        made.add(f"person with {role} and Gateway.Billing.Read", reader, roles | {Role.BILLING_READ})
        legacy = entra.signed(entra.claims_of(application, audience=COGNITIVE))
        permitted = frozenset({Role.USE}) if roles == USER else frozenset()
        own = (stack.tenant,)
        made.callers[f"application with {role}, for Azure OpenAI"] = Caller(
            credential=legacy, roles=permitted, tenants=own
        )
        of_suspended, of_two, of_closed = Person(), Person(), Person()
        made.name("person", of_suspended.object_id, role, "suspended")
        made.name("person", of_two.object_id, role, stack.tenant, "second")
        made.name("person", of_closed.object_id, role, stack.tenant, "closed")
        made.add(f"{role} of a suspended tenant", of_suspended, roles, tenants=("suspended",), is_suspended=True)
        made.add(f"{role} of two tenants", of_two, roles, tenants=(stack.tenant, "second"))
        made.add(f"{role} of a tenant and a closed one", of_closed, roles)
    await made.store()
    await stack.manage("POST", "/manage/tenants/suspended/suspend")
    await stack.manage("DELETE", "/manage/tenants/closed")
    return made.callers


async def call(stack: Stack, operation: Operation, caller: Caller, tenant: str) -> tuple[int, str]:
    """Call an operation on an object that does not exist, without a body. Returns status and error code.

    `tenant` is named by the path if it names one, and otherwise by a header.
    """
    names_tenant = "{tenant}" in operation.path
    parts = defaultdict(lambda: "nothing", {"tenant": tenant} if tenant else {})
    query = {"api-version": API_VERSION} if "api-version" in operation.query else {}
    url, headers = stack.url + operation.path.format_map(parts), caller.headers("" if names_tenant else tenant)
    async with stack.session.request(operation.method, url, params=query, headers=headers) as response:
        is_error = response.status in (400, 401, 403)
        return response.status, (await response.json())["error"]["code"] if is_error else ""


def refusal_of(operation: Operation, caller: Caller, tenant: str) -> tuple[int, str] | None:
    """Return the refusal that the table of operations demands; `None` if the caller is let in."""
    if operation.is_open:
        return None
    held = caller.roles.intersection(operation.roles)
    if not held & OPERATOR_ROLES:
        is_elsewhere = tenant not in caller.tenants if tenant or "{tenant}" in operation.path else not caller.tenants
        if is_elsewhere and caller.refusal == FORBIDDEN:
            return FORBIDDEN
        if not tenant and len(caller.tenants) > 1 and Role.ADMIN not in operation.roles:
            return SEVERAL
        if not held:
            return caller.refusal
    is_refused = caller.is_suspended and operation.path not in OPEN_TO_SUSPENDED and Role.ADMIN not in operation.roles
    return SUSPENDED if is_refused else None


@pytest.mark.parametrize("make", [keys, tokens, members])
async def test_every_operation_admits_exactly_the_callers_whose_roles_its_row_names(
    stack: Stack, entra: EmulatedEntra, make: Callable[[Stack, EmulatedEntra], Awaitable[dict[str, Caller]]]
) -> None:
    await stack.register("foreign")
    wrong = []
    for name, caller in (await make(stack, entra)).items():
        tenants = ("", *caller.tenants, "foreign", "nobody") if caller.tenants else ("",)
        for operation in OPERATIONS:
            for tenant in tenants:
                refusal = refusal_of(operation, caller, tenant)
                answer = await call(stack, operation, caller, tenant)
                if answer != refusal if refusal else answer[0] in (401, 403, 500):
                    wrong.append((name, operation.method, operation.path, tenant, answer, refusal))
    assert wrong == []


def test_an_operation_without_roles_cannot_be_declared() -> None:
    with pytest.raises(ValueError, match="names no role"):
        Operation(method="GET", path="/x", summary="x", roles=())


def test_only_what_shows_nothing_of_tenants_is_open() -> None:
    assert {operation.path for operation in OPERATIONS if operation.is_open} == {
        "/healthz",
        "/readyz",
        "/reference",
        "/reference/openapi.json",
    }
    assert all(operation.is_open or Role.ANYONE not in operation.roles for operation in OPERATIONS)


def test_the_path_names_the_tenant_where_its_administrators_may_act() -> None:
    for operation in OPERATIONS:
        if Role.TENANT_ADMIN in operation.roles and Role.ADMIN in operation.roles:
            assert operation.path.startswith("/manage/tenants/{tenant}/")
