"""Every operation refuses every caller whose roles its row does not name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from shared.domain.identity.role import OPERATOR_ROLES, Role
from shared.http.operation import Operation
from shared.http.operation_table import OPERATIONS
from tests.tools.known_tokens import KnownTokens, application_claims, person_claims
from tests.tools.stack import ADMIN_KEY, API_VERSION, Stack

UNKNOWN = (401, "invalid_api_key")
INVALID = (401, "invalid_token")
FORBIDDEN = (403, "insufficient_role")
SUSPENDED = (403, "tenant_suspended")
OPEN_TO_SUSPENDED = {"/me", "/me/usage", "/openai/models", "/openai/v1/models", "/openai/v1/models/{model}"}
"""A suspended tenant may still see its own settings, usage and models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A credential, the header in which it is sent, and the roles that its holder has."""

    credential: str
    header: str = "api-key"
    roles: frozenset[Role] = frozenset()
    refusal: tuple[int, str] = FORBIDDEN
    """The answer of an operation that names none of the roles."""
    is_suspended: bool = False

    @property
    def headers(self) -> dict[str, str]:
        text = self.credential if self.header == "api-key" else f"Bearer {self.credential}"
        return {self.header: text} if self.credential else {}


async def keys(stack: Stack) -> dict[str, Caller]:
    """Make a caller with each kind of key."""
    revoked = await stack.register("revoked")
    (listed,) = (await stack.manage("GET", "/manage/tenants/revoked/keys"))["data"]
    await stack.manage("DELETE", f"/manage/tenants/revoked/keys/{listed['key_id']}")
    suspended = await stack.register("suspended")
    await stack.manage("POST", "/manage/tenants/suspended/suspend")
    user = frozenset({Role.TENANT_USE})
    return {
        "no key": Caller(credential="", refusal=UNKNOWN),
        "wrong key": Caller(credential=f"{stack.key}A", refusal=UNKNOWN),
        "revoked key": Caller(credential=revoked, refusal=UNKNOWN),
        "tenant key": Caller(credential=stack.key, roles=user),
        "tenant key as bearer": Caller(credential=stack.key, header="Authorization", roles=user),
        "suspended tenant's key": Caller(credential=suspended, roles=user, is_suspended=True),
        "admin key": Caller(credential=ADMIN_KEY, roles=frozenset({Role.ADMIN})),
        "admin key as bearer": Caller(credential=ADMIN_KEY, header="Authorization", roles=frozenset({Role.ADMIN})),
    }


async def tokens(stack: Stack) -> dict[str, Caller]:
    """Make a caller with a token of each role, of no role, and with names that are no roles of tokens."""
    known = KnownTokens()
    (await stack.gateway()).tenancy.authenticate._tokens = known
    callers = {
        "unsigned token": Caller(
            credential=KnownTokens().issue(person_claims()), header="Authorization", refusal=INVALID
        ),
        "token in place of a key": Caller(
            credential=known.issue(person_claims(roles=frozenset({Role.ADMIN}))), refusal=UNKNOWN
        ),
    }
    for role in Role:
        token = known.issue(application_claims(roles=frozenset({role.value, "Other"})))
        roles = frozenset({role}) & OPERATOR_ROLES
        callers[f"token that states {role}"] = Caller(credential=token, header="Authorization", roles=roles)
    everything = known.issue(person_claims(roles=frozenset(role.value for role in Role)))
    callers["token that states all roles"] = Caller(credential=everything, header="Authorization", roles=OPERATOR_ROLES)
    callers["token without roles"] = Caller(credential=known.issue(person_claims()), header="Authorization")
    return callers


async def call(stack: Stack, operation: Operation, caller: Caller) -> tuple[int, str]:
    """Call an operation on an object that does not exist, without a body. Returns status and error code."""
    path = operation.path.format_map(defaultdict(lambda: "nothing"))
    query = {"api-version": API_VERSION} if "api-version" in operation.query else {}
    url = stack.url + path
    async with stack.session.request(operation.method, url, params=query, headers=caller.headers) as response:
        is_error = response.status in (401, 403)
        return response.status, (await response.json())["error"]["code"] if is_error else ""


def refusal_of(operation: Operation, caller: Caller) -> tuple[int, str] | None:
    """Return the refusal that the table of operations demands; `None` if the caller is let in."""
    if operation.is_open:
        return None
    if not caller.roles.intersection(operation.roles):
        return caller.refusal
    return SUSPENDED if caller.is_suspended and operation.path not in OPEN_TO_SUSPENDED else None


@pytest.mark.parametrize("make", [keys, tokens])
async def test_every_operation_admits_exactly_the_callers_whose_roles_its_row_names(
    stack: Stack, make: Callable[[Stack], Awaitable[dict[str, Caller]]]
) -> None:
    wrong = []
    for name, caller in (await make(stack)).items():
        for operation in OPERATIONS:
            refusal = refusal_of(operation, caller)
            answer = await call(stack, operation, caller)
            if answer != refusal if refusal else answer[0] in (401, 403, 500):
                wrong.append((name, operation.method, operation.path, answer))
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
