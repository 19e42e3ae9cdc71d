"""Every operation refuses the keys that the role in its row does not name."""

from __future__ import annotations

from collections import defaultdict

import pytest

from shared.http.operation import Operation, Role
from shared.http.operation_table import OPERATIONS
from tests.tools.stack import ADMIN_KEY, API_VERSION, Stack

NO_KEY, WRONG_KEY, REVOKED_KEY = "no key", "wrong key", "revoked key"
TENANT_KEY, SUSPENDED_KEY, ADMINISTRATOR_KEY = "tenant key", "suspended tenant's key", "administrator's key"
UNKNOWN = (401, "invalid_api_key")
FORBIDDEN = (403, "insufficient_role")
SUSPENDED = (403, "tenant_suspended")
OPEN_TO_SUSPENDED = {"/me", "/me/usage", "/openai/models", "/openai/v1/models", "/openai/v1/models/{model}"}
"""A suspended tenant may still see its own settings, usage and models."""
REFUSALS = {
    (NO_KEY, Role.TENANT): UNKNOWN,
    (NO_KEY, Role.ADMINISTRATOR): UNKNOWN,
    (WRONG_KEY, Role.TENANT): UNKNOWN,
    (WRONG_KEY, Role.ADMINISTRATOR): UNKNOWN,
    (REVOKED_KEY, Role.TENANT): UNKNOWN,
    (REVOKED_KEY, Role.ADMINISTRATOR): UNKNOWN,
    (TENANT_KEY, Role.ADMINISTRATOR): FORBIDDEN,
    (SUSPENDED_KEY, Role.ADMINISTRATOR): FORBIDDEN,
    (SUSPENDED_KEY, Role.TENANT): SUSPENDED,
    (ADMINISTRATOR_KEY, Role.TENANT): FORBIDDEN,
}
"""Refusals by kind of key and role. All other pairs are let in."""


async def credential(stack: Stack, kind: str) -> str:
    """Make a key of one kind."""
    if kind in (REVOKED_KEY, SUSPENDED_KEY):
        key = await stack.register("other")
        (listed,) = (await stack.manage("GET", "/manage/tenants/other/keys"))["data"]
        if kind == SUSPENDED_KEY:
            await stack.manage("POST", "/manage/tenants/other/suspend")
        else:
            await stack.manage("DELETE", f"/manage/tenants/other/keys/{listed['key_id']}")
        return key
    ready = {NO_KEY: "", WRONG_KEY: f"{stack.key}A", TENANT_KEY: stack.key, ADMINISTRATOR_KEY: ADMIN_KEY}
    return ready[kind]


async def call(stack: Stack, operation: Operation, key: str) -> tuple[int, str]:
    """Call an operation on an object that does not exist, without a body. Returns status and error code."""
    path = operation.path.format_map(defaultdict(lambda: "nothing"))
    query = {"api-version": API_VERSION} if "api-version" in operation.query else {}
    headers = {"api-key": key} if key else {}
    async with stack.session.request(operation.method, stack.url + path, params=query, headers=headers) as response:
        is_error = response.status in (401, 403)
        return response.status, (await response.json())["error"]["code"] if is_error else ""


@pytest.mark.parametrize("kind", [NO_KEY, WRONG_KEY, REVOKED_KEY, TENANT_KEY, SUSPENDED_KEY, ADMINISTRATOR_KEY])
async def test_an_operation_refuses_the_keys_that_its_role_does_not_name(stack: Stack, kind: str) -> None:
    key = await credential(stack, kind)
    wrong = []
    for operation in OPERATIONS:
        refusal = REFUSALS.get((kind, operation.role))
        if refusal == SUSPENDED and operation.path in OPEN_TO_SUSPENDED:
            refusal = None
        status, code = await call(stack, operation, key)
        if (status, code) != refusal if refusal else status in (401, 403, 500):
            wrong.append((operation.method, operation.path, status, code))
    assert wrong == []
