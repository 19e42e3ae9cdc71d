"""Callers without a key cost the tenants nothing, and learn nothing."""

from __future__ import annotations

import base64
import json

import pytest

from shared.domain.identifiers import new_rid
from shared.domain.tenancy.keys import new_gateway_key
from tests.tools.events import waiting
from tests.tools.ledgers import NOW
from tests.tools.stack import ADMIN_KEY, Stack

ILL_FORMED = [
    "tg_acme-00000000_" + "x" * 60_000,
    f"tg_{'a' * 60_000}-00000000_x",
    "tg_acme-00000000_\u00e9\u00fc",
    "tg_a/b-00000000_x",
    "tg_a\\b?c#d-00000000_x",
    "tg_ACME-00000000_x",
    "tg_acme-0000000g_x",
    "tg_acme-00000000_",
    "tg__",
    "Bearer",
    "a.b.c",
]


@pytest.mark.parametrize("key", ILL_FORMED, ids=lambda key: f"{key[:20]} ({len(key)})")
async def test_an_ill_formed_key_is_refused_like_an_unknown_one(stack_on_tables: Stack, key: str) -> None:
    stack = stack_on_tables
    _, _, unknown = await stack.chat(key=new_gateway_key("acme", NOW, None)[1])
    for headers in ({"api-key": key}, {"Authorization": f"Bearer {key}"}):
        for path in ("/me", "/manage/tenants", "/openai/v1/models"):
            async with stack.session.get(stack.url + path, headers=headers) as response:
                answer = await response.json()
                assert response.status == 401
                assert without_id(answer) == without_id(unknown)


async def test_headers_of_a_sign_in_before_the_gateway_are_no_credential(stack: Stack) -> None:
    claims = {"auth_typ": "aad", "claims": [{"typ": "roles", "val": "Gateway.Admin"}], "role_typ": "roles"}
    headers = {
        "x-ms-client-principal": base64.b64encode(json.dumps(claims).encode()).decode(),
        "x-ms-client-principal-id": "admin",
        "x-ms-client-principal-name": "admin-key",
        "x-ms-token-aad-access-token": ADMIN_KEY,
        "x-functions-key": ADMIN_KEY,
        "cookie": f"AppServiceAuthSession={ADMIN_KEY}",
    }
    for path in ("/me", "/manage/tenants", "/openai/v1/models"):
        async with stack.session.get(f"{stack.url}{path}?code={ADMIN_KEY}", headers=headers) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (401, "invalid_api_key")


def without_id(answer: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return an error without its request id, which ends the message."""
    error = answer["error"]
    return {**error, "message": error["message"][: -len(f"(request id: {new_rid()})")]}


async def test_a_flood_of_unknown_keys_leaves_the_tenants_of_its_source_alone(stack_on_tables: Stack) -> None:
    stack = stack_on_tables
    cold = await stack.register(f"{stack.tenant}-cold")
    (await stack.gateway()).tenancy.authenticate.forget(f"{stack.tenant}-cold")
    for _ in range(30):
        assert (await stack.chat(key=new_gateway_key(stack.tenant, NOW, None)[1]))[0] == 401
    assert (await stack.chat())[0] == 200
    assert (await stack.chat(key=cold))[0] == 200
    assert (await stack.chat(key=await stack.register(f"{stack.tenant}-new")))[0] == 200


@pytest.mark.parametrize("stack_settings", [{"TRUSTED_PROXY_HOPS": "1"}], indirect=True)
async def test_the_audit_log_names_the_source_that_the_proxy_saw(stack: Stack) -> None:
    await stack.manage(
        "PUT", "/manage/deployments/x", {"backends": ["se-gpt-4o"]}, x_forwarded_for="6.6.6.6, 9.9.9.9:7"
    )
    documents = (await stack.gateway()).tenancy.tenants._tenants._documents  # type: ignore[attr-defined]
    (event,) = [each for each in await waiting(documents) if each["action"] == "deployment.put"][-1:]
    assert event["source_address"] == "9.9.9.9"
