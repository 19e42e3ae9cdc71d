"""Applications, people and groups of Entra act for the tenants that name them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from openai import AsyncAzureOpenAI

from local.emulators.entra import MOST_GROUPS, EmulatedEntra
from local.emulators.entra_objects import Application, Person
from shared import timers
from shared.application.sweep import SweepFailed
from tests.tools.entra import running_entra, settings_of
from tests.tools.events import waiting
from tests.tools.stack import API_VERSION, Stack

COGNITIVE = "https://cognitiveservices.azure.com"
CHAT = f"/openai/deployments/gpt-4o/chat/completions?api-version={API_VERSION}"
BODY = {"messages": [{"role": "user", "content": "Hello!"}]}


@pytest.fixture
async def entra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[EmulatedEntra]:
    async with running_entra(monkeypatch, tmp_path) as running:
        yield running


@pytest.fixture
def stack_settings(entra: EmulatedEntra) -> dict[str, str]:
    return {**settings_of(entra), "ENTRA_LEGACY_AUDIENCES": COGNITIVE}


async def call(
    stack: Stack, token: str, path: str = CHAT, body: Any = None, method: str = "", **headers: str
) -> tuple[int, Any]:
    """Send a request with a token, by default a chat. Returns the status, and the answer or its error."""
    method = method or ("POST" if path == CHAT or body is not None else "GET")
    sent = {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): text for name, text in headers.items()}}
    body = BODY if path == CHAT else body
    async with stack.session.request(method, stack.url + path, json=body, headers=sent) as response:
        answer: Any = await response.json() if response.status != 204 else None
        return response.status, answer["error"] if response.status >= 400 else answer


def named(entra: EmulatedEntra, caller: Application | Person | str, role: str = "tenant.use") -> dict[str, str]:
    """Return the setting that names a caller, or a group by its id."""
    kind, id_ = "group", str(caller)
    if isinstance(caller, Application):
        kind, id_ = "application", caller.client_id
    elif isinstance(caller, Person):
        kind, id_ = "person", caller.object_id
    return {"directory_id": entra.directory_id, "kind": kind, "id": id_, "role": role}


async def name(stack: Stack, *principals: dict[str, str], tenant: str = "") -> None:
    """Have a tenant name these principals and no others."""
    path = f"/manage/tenants/{tenant or stack.tenant}"
    await stack.manage("PATCH", path, {"entra_principals": list(principals)})


async def test_the_usual_client_calls_with_the_token_of_an_application(stack: Stack, entra: EmulatedEntra) -> None:
    application = entra.applications[0]
    await name(stack, named(entra, application))

    async def provide() -> str:
        return entra.token_of(application)

    async with AsyncAzureOpenAI(
        azure_endpoint=stack.url, azure_ad_token_provider=provide, api_version=API_VERSION
    ) as client:
        answer = await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])
    assert answer.usage is not None
    assert (await stack.usage())["requests"] == 1


async def test_an_application_a_person_and_a_group_act_for_the_tenant(stack: Stack, entra: EmulatedEntra) -> None:
    application, person, group = entra.applications[0], entra.people[0], str(uuid4())
    member = replace(person, object_id=str(uuid4()), groups=(group,))
    tokens = [entra.token_of(caller) for caller in (application, person, member)]
    for token in tokens:
        status, error = await call(stack, token)
        assert (status, error["code"]) == (403, "insufficient_role")
    await name(stack, named(entra, application), named(entra, person), named(entra, group))
    for token in tokens:
        assert (await call(stack, token))[0] == 200
        status, me = await call(stack, token, "/me")
        assert (status, me["tenant_id"], me["key_id"]) == (200, stack.tenant, "")
        assert "entra_principals" not in me
    await name(stack)
    for token in tokens:
        assert (await call(stack, token))[0] == 403
    assert (await stack.usage())["requests"] == 3


async def test_a_tenant_administrator_manages_its_own_keys_and_reads_its_usage(
    stack: Stack, entra: EmulatedEntra
) -> None:
    await stack.register("other")
    token = entra.token_of(entra.people[0])
    await name(stack, named(entra, entra.people[0], "tenant.admin"))
    own = f"/manage/tenants/{stack.tenant}"
    status, created = await call(stack, token, f"{own}/keys", {})
    assert (status, (await stack.chat(key=created["key"]))[0]) == (201, 200)
    await stack.settled()
    assert (await call(stack, token, f"{own}/usage"))[1]["requests"] == 1
    assert len((await call(stack, token, f"{own}/entries"))[1]["data"]) == 1
    assert (await call(stack, token, f"{own}/keys/{created['key_id']}", method="DELETE"))[0] == 204
    assert (await stack.chat(key=created["key"]))[0] == 401
    for path in ("/me", "/me/usage"):
        assert (await call(stack, token, path))[0] == 200
    for path in (own, "/manage/tenants", "/manage/prices", "/openai/v1/models", CHAT):
        assert (await call(stack, token, path))[0] == 403
    refused = {
        (await call(stack, token, f"/manage/tenants/{tenant}/usage"))[1]["message"].partition(" (request")[0]
        for tenant in ("other", "nobody")
    }
    assert len(refused) == 1


async def test_what_a_tenant_administrator_does_is_audited_with_its_name_and_role(
    stack: Stack, entra: EmulatedEntra
) -> None:
    person = entra.people[0]
    await name(stack, named(entra, person, "tenant.admin"))
    await call(stack, entra.token_of(person), f"/manage/tenants/{stack.tenant}/keys", {})
    documents = (await stack.gateway()).tenancy.keys._keys._documents  # type: ignore[attr-defined]
    event = [each for each in await waiting(documents) if each["action"] == "key.create"][-1]
    assert event["actor"] == f"person:{person.object_id}@{entra.directory_id}"
    assert event["role"] == "tenant.admin"
    assert len(event["request_id"]) == 32


async def test_a_caller_of_several_tenants_names_the_one_it_acts_for(stack: Stack, entra: EmulatedEntra) -> None:
    await stack.register("second")
    await stack.register("foreign")
    token = entra.token_of(entra.applications[0])
    for tenant in (stack.tenant, "second"):
        await name(stack, named(entra, entra.applications[0]), tenant=tenant)
    status, error = await call(stack, token)
    assert (status, error["code"], error["param"]) == (400, "invalid_request", "x-gateway-tenant")
    for tenant in (stack.tenant, "second"):
        assert (await call(stack, token, "/me", x_gateway_tenant=tenant))[1]["tenant_id"] == tenant
    refused = set()
    for tenant in ("foreign", "nobody", "%", "é"):
        status, error = await call(stack, token, x_gateway_tenant=tenant)
        refused.add((status, error["code"], error["message"].partition(" (request")[0]))
    ((status, code, _),) = refused
    assert (status, code) == (403, "insufficient_role")


async def test_a_key_acts_for_no_other_tenant_than_its_own(stack: Stack) -> None:
    await stack.register("foreign")
    for tenant, expected in ((stack.tenant, 200), ("", 200), ("foreign", 403), ("nobody", 403)):
        headers = {"api-key": stack.key, "x-gateway-tenant": tenant}
        async with stack.session.get(f"{stack.url}/me", headers=headers) as response:
            assert response.status == expected


async def test_a_token_for_azure_openai_serves_inference_of_those_named_by_id(
    stack: Stack, entra: EmulatedEntra
) -> None:
    application, group = entra.applications[0], str(uuid4())
    token = entra.signed({**entra.claims_of(application, audience=COGNITIVE), "groups": [group]})
    await name(stack, named(entra, group), named(entra, application, "tenant.admin"))
    for path in (CHAT, "/me", f"/manage/tenants/{stack.tenant}/keys"):
        assert (await call(stack, token, path))[0] == 403
    await name(stack, named(entra, application), named(entra, application, "tenant.admin"))
    assert (await call(stack, token))[0] == 200
    assert (await call(stack, token, "/openai/v1/models"))[0] == 200
    for path in ("/me", "/me/usage", f"/manage/tenants/{stack.tenant}/keys"):
        assert (await call(stack, token, path))[0] == 403


async def test_a_person_with_too_many_groups_is_told_so(stack: Stack, entra: EmulatedEntra) -> None:
    groups = tuple(str(uuid4()) for _ in range(MOST_GROUPS + 1))
    await name(stack, named(entra, groups[0]))
    many, fewer = (entra.token_of(replace(entra.people[0], groups=groups[:count])) for count in (MOST_GROUPS + 1, 200))
    for path, headers in (
        (CHAT, {}),
        (CHAT, {"x_gateway_tenant": stack.tenant}),
        (f"/manage/tenants/{stack.tenant}/keys", {}),
    ):
        status, error = await call(stack, many, path, **headers)
        assert (status, error["code"]) == (403, "insufficient_role")
        assert "names no groups" in error["message"]
    assert (await call(stack, fewer))[0] == 200


async def test_a_suspended_tenant_serves_no_token(stack: Stack, entra: EmulatedEntra) -> None:
    await name(stack, named(entra, entra.people[0]))
    token = entra.token_of(entra.people[0])
    assert (await call(stack, token))[0] == 200
    await stack.manage("POST", f"/manage/tenants/{stack.tenant}/suspend")
    assert (await call(stack, token))[1]["code"] == "tenant_suspended"


async def test_the_app_role_use_lets_a_tenant_administrator_send_inference(stack: Stack, entra: EmulatedEntra) -> None:
    person = replace(entra.people[0], roles=("Gateway.Use",))
    token = entra.token_of(person)
    assert (await call(stack, token))[0] == 403
    await name(stack, named(entra, person, "tenant.admin"))
    assert (await call(stack, token))[0] == 200


async def test_ids_are_stored_in_lower_case_and_each_principal_once(stack: Stack, entra: EmulatedEntra) -> None:
    principal = named(entra, entra.people[0])
    upper = principal | {"id": principal["id"].upper(), "directory_id": principal["directory_id"].upper()}
    await name(stack, upper)
    assert (await stack.manage("GET", f"/manage/tenants/{stack.tenant}"))["entra_principals"] == [principal]
    assert (await call(stack, entra.token_of(entra.people[0])))[0] == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "ann"}, {"directory_id": "contoso.com"}, {"kind": "role"}, {"role": "Gateway.Admin"}, {"role": None},
        {"id": "{33333333-3333-4333-8333-333333333333}"}, {"more": "x"}, {"kind": None},
    ],
)  # fmt: skip
async def test_a_principal_that_is_none_is_refused(stack: Stack, entra: EmulatedEntra, wrong: dict[str, Any]) -> None:
    principals = [named(entra, entra.people[0]) | wrong]
    path = f"/manage/tenants/{stack.tenant}"
    refused = await stack.manage("PATCH", path, {"entra_principals": principals}, status=400)
    assert refused["error"]["param"] == f"entra_principals.0.{next(iter(wrong))}"


async def test_a_principal_named_twice_and_too_many_are_refused(stack: Stack, entra: EmulatedEntra) -> None:
    one = named(entra, entra.people[0])
    path = f"/manage/tenants/{stack.tenant}"
    for principals in ([one, one | {"id": one["id"].upper()}], [one | {"id": str(uuid4())} for _ in range(201)]):
        refused = await stack.manage("PATCH", path, {"entra_principals": principals}, status=400)
        assert refused["error"]["param"] == "entra_principals"


async def test_a_missing_row_of_the_index_is_added_by_the_timer(stack: Stack, entra: EmulatedEntra) -> None:
    token, gateway = entra.token_of(entra.people[0]), await stack.gateway()
    await name(stack, named(entra, entra.people[0]))
    index = gateway.tenancy.reconcile_principals._index
    ((row,),) = (await index.rows()).values()
    await index.remove(row, stack.tenant)
    gateway.tenancy.authenticate._memberships.forget(stack.tenant, [row])
    assert (await call(stack, token))[0] == 403
    await timers.reconcile_limits(past_due=False)
    gateway.tenancy.authenticate._memberships.forget(stack.tenant, [row])
    assert (await call(stack, token))[0] == 200


async def test_a_token_is_refused_from_addresses_that_its_tenant_does_not_allow(
    stack: Stack, entra: EmulatedEntra
) -> None:
    token = entra.token_of(entra.people[0])
    await name(stack, named(entra, entra.people[0]), named(entra, entra.people[0], "tenant.admin"))
    keys = f"/manage/tenants/{stack.tenant}/keys"
    for ranges, status in ((["203.0.113.0/24"], 403), (["127.0.0.0/8"], 200)):
        await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"address_ranges": ranges})
        for path in (CHAT, "/me", keys):
            answer = await call(stack, token, path)
            assert answer[0] == status
            assert status == 200 or answer[1]["code"] == "address_not_allowed"


async def test_the_timer_repairs_the_index_also_if_limits_cannot_be_compared(
    stack: Stack, entra: EmulatedEntra
) -> None:
    gateway = await stack.gateway()
    await name(stack, named(entra, entra.people[0]))
    index = gateway.tenancy.reconcile_principals._index
    ((row,),) = (await index.rows()).values()
    await index.remove(row, stack.tenant)
    documents = gateway.tenancy.reconcile_principals._index._documents  # type: ignore[attr-defined]
    await documents.put("tenants", "damaged", "tenant", "{")
    with pytest.raises(SweepFailed, match="damaged"):
        await timers.reconcile_limits(past_due=False)
    assert await index.rows() == {stack.tenant: {row}}
