"""The management API: what it accepts, what it refuses, and what each role can see."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.domain.identifiers import BillingPeriod
from shared.domain.tenancy.keys import new_gateway_key
from tests.tools.events import told
from tests.tools.ledgers import NOW
from tests.tools.stack import ADMIN_KEY, Stack

TENANT: dict[str, Any] = {
    "tenant_id": "globex",
    "name": "Globex",
    "cost_center": "CC-7",
    "contact": "ops@globex.example",
    "deployments": ["gpt-4o"],
    "monthly_quota_tokens": 5000,
    "monthly_budget_usd": "12.50",
    "residency": {"zones": ["eu"]},
    "on_disconnect": "cut",
    "expiry_policy": "full",
    "tags": {"team": "blue"},
}


async def test_a_tenant_is_registered_changed_suspended_resumed_and_closed(stack: Stack) -> None:
    created = await stack.manage("POST", "/manage/tenants", TENANT)
    assert {name: created[name] for name in TENANT} == TENANT | {"residency": {"zones": ["eu"], "allow_global": False}}
    assert created["state"] == "active"
    changed = await stack.manage("PATCH", "/manage/tenants/globex", {"name": "Globex Ltd", "monthly_budget_usd": None})
    assert (changed["name"], changed["monthly_budget_usd"], changed["cost_center"]) == ("Globex Ltd", None, "CC-7")
    assert (await stack.manage("POST", "/manage/tenants/globex/suspend"))["state"] == "suspended"
    assert (await stack.manage("POST", "/manage/tenants/globex/resume"))["state"] == "active"
    assert (await stack.manage("DELETE", "/manage/tenants/globex"))["state"] == "closed"
    refused = await stack.manage("POST", "/manage/tenants/globex/resume", status=400)
    assert refused["error"]["param"] == "state"
    assert (await stack.manage("GET", "/manage/tenants/globex"))["state"] == "closed"


async def test_a_change_of_a_stale_version_is_refused(stack: Stack) -> None:
    url = f"{stack.url}/manage/tenants/{stack.tenant}"
    async with stack.session.get(url, headers={"api-key": ADMIN_KEY}) as response:
        etag = response.headers["ETag"]
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"name": "first"}, if_match=etag)
    refused = await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"name": "x"}, if_match=etag, status=412)
    assert refused["error"]["code"] == "version_conflict"
    assert (await stack.manage("GET", f"/manage/tenants/{stack.tenant}"))["name"] == "first"


async def test_tenants_are_listed_in_pages(stack: Stack) -> None:
    for number in range(3):
        await stack.manage("POST", "/manage/tenants", {"tenant_id": f"a{number}"})
    first = await stack.manage("GET", "/manage/tenants?limit=2")
    second = await stack.manage("GET", f"/manage/tenants?limit=2&cursor={first['next_cursor']}")
    assert [tenant["tenant_id"] for tenant in first["data"] + second["data"]] == ["a0", "a1", "a2", stack.tenant]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"favourite_colour": "blue"}, "favourite_colour"),
        ({"monthly_quota_tokens": -1}, "monthly_quota_tokens"),
        ({"monthly_quota_tokens": "many"}, "monthly_quota_tokens"),
        ({"monthly_quota_tokens": 1.5}, "monthly_quota_tokens"),
        ({"monthly_budget_usd": "-1"}, "monthly_budget_usd"),
        ({"monthly_budget_usd": "NaN"}, "monthly_budget_usd"),
        ({"monthly_budget_usd": "9000001"}, "monthly_budget_usd"),
        ({"monthly_budget_usd": "0.0000000000001"}, "monthly_budget_usd"),
        ({"monthly_budget_usd": "ten"}, "monthly_budget_usd"),
        ({"monthly_budget_usd": 10}, "monthly_budget_usd"),
        ({"name": None}, "name"),
        ({"residency": {"planet": "mars"}}, "residency.planet"),
        ({"on_disconnect": "shrug"}, "on_disconnect"),
        ({"deployments": "gpt-4o"}, "deployments"),
    ],
)
async def test_bad_fields_are_refused_by_name_and_change_nothing(stack: Stack, change: Any, param: str) -> None:
    before = await stack.manage("GET", f"/manage/tenants/{stack.tenant}")
    refused = await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", change, status=400)
    assert (refused["error"]["code"], refused["error"]["param"]) == ("invalid_request", param)
    assert await stack.manage("GET", f"/manage/tenants/{stack.tenant}") == before


@pytest.mark.parametrize("tenant_id", ["", "UPPER", "-a", "a" * 41, "a/b", "a_b", "a|00"])
async def test_bad_tenant_ids_are_refused(stack: Stack, tenant_id: str) -> None:
    refused = await stack.manage("POST", "/manage/tenants", {"tenant_id": tenant_id}, status=400)
    assert refused["error"]["param"] == "tenant_id"


async def test_a_path_with_an_impossible_tenant_id_is_refused(stack: Stack) -> None:
    assert (await stack.manage("GET", "/manage/tenants/UPPER", status=400))["error"]["param"] == "tenant_id"


async def test_changes_that_race_are_both_kept(stack: Stack) -> None:
    """Without `If-Match`, a change applies to the version that is current when it is written."""
    path = f"/manage/tenants/{stack.tenant}"
    directory: Any = (await stack.gateway()).tenancy.tenants._tenants
    documents = directory._documents
    replace, raced = documents.replace, list[bool]()

    async def lose_once(*arguments: Any) -> Any:
        if not raced:
            raced.append(True)
            await stack.manage("PATCH", path, {"contact": "other"})
        return await replace(*arguments)

    documents.replace = lose_once
    changed = await stack.manage("PATCH", path, {"name": "mine"})
    assert (changed["name"], changed["contact"]) == ("mine", "other")
    await stack.manage("PATCH", path, {"contact": "nobody"})
    raced.clear()
    async with stack.session.get(stack.url + path, headers={"api-key": ADMIN_KEY}) as response:
        etag = response.headers["etag"]
    await stack.manage("PATCH", path, {"name": "too late"}, if_match=etag, status=412)
    assert (await stack.manage("GET", path))["name"] == "mine"


async def test_objects_that_are_missing_or_exist_already_are_named_in_the_error(stack: Stack) -> None:
    for method, path in (
        ("GET", "/manage/tenants/nobody"),
        ("PATCH", "/manage/tenants/nobody"),
        ("POST", "/manage/tenants/nobody/suspend"),
        ("POST", "/manage/tenants/nobody/keys"),
        ("GET", "/manage/tenants/nobody/keys"),
        ("DELETE", "/manage/tenants/nobody/keys/nobody-0"),
        ("GET", "/manage/tenants/nobody/usage"),
        ("GET", "/manage/tenants/nobody/entries"),
        ("GET", "/manage/backends/nothing"),
        ("GET", "/manage/deployments/nothing"),
    ):
        assert (await stack.manage(method, path, {}, status=404))["error"]["code"] == "not_found"
    again = await stack.manage("POST", "/manage/tenants", {"tenant_id": stack.tenant}, status=409)
    assert again["error"]["code"] == "already_exists"


async def test_a_key_works_until_it_is_revoked_and_is_shown_once(stack: Stack) -> None:
    created = await stack.manage("POST", f"/manage/tenants/{stack.tenant}/keys", {})
    assert (await stack.chat(key=created["key"]))[0] == 200
    listed = await stack.manage("GET", f"/manage/tenants/{stack.tenant}/keys")
    assert created["key_id"] in [key["key_id"] for key in listed["data"]]
    secret = created["key"].split("_", 2)[2]
    assert secret not in str(listed)
    for _ in range(2):
        await stack.manage("DELETE", f"/manage/tenants/{stack.tenant}/keys/{created['key_id']}")
    assert (await stack.chat(key=created["key"]))[0] == 401
    assert (await stack.chat())[0] == 200


async def test_an_expired_key_is_refused_like_an_unknown_one(stack: Stack) -> None:
    gateway = await stack.gateway()
    key, expired = new_gateway_key(stack.tenant, NOW - timedelta(days=2), NOW - timedelta(days=1))
    await gateway.tenancy.keys._keys.insert(key, told())
    answers = [await stack.chat(key=key) for key in (expired, "tg_nobody-00000000_x", "nonsense", "tg_x", "")]
    messages = {answer["error"]["message"].partition(" (request id")[0] for _, _, answer in answers}
    assert {status for status, _, _ in answers} == {401}
    assert len(messages) == 1
    assert answers[0][1]["www-authenticate"] == "Bearer"
    naive = await stack.manage(
        "POST", f"/manage/tenants/{stack.tenant}/keys", {"expires_at": "2030-01-01T00:00:00"}, status=400
    )
    assert naive["error"]["param"] == "expires_at"


async def test_tenants_may_not_manage_and_administrators_have_no_tenant(stack: Stack) -> None:
    for method, path in (
        ("GET", "/manage/tenants"),
        ("POST", "/manage/prices"),
        ("GET", f"/manage/tenants/{stack.tenant}"),
    ):
        async with stack.session.request(method, stack.url + path, headers={"api-key": stack.key}) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (403, "insufficient_role")
        async with stack.session.request(method, stack.url + path) as response:
            assert response.status == 401
    for path in ("/me", "/me/usage"):
        async with stack.session.get(stack.url + path, headers={"Authorization": f"Bearer {ADMIN_KEY}"}) as response:
            assert response.status == 403


async def test_me_shows_a_tenant_its_own_data_only(stack: Stack) -> None:
    other = await stack.register("other-tenant")
    await stack.chat()
    for key, tenant, tokens in ((stack.key, stack.tenant, 49), (other, "other-tenant", 0)):
        async with stack.session.get(f"{stack.url}/me", headers={"Authorization": f"Bearer {key}"}) as response:
            assert (await response.json())["tenant_id"] == tenant
        async with stack.session.get(f"{stack.url}/me/usage", headers={"api-key": key}) as response:
            usage = await response.json()
            assert (usage["tenant_id"], usage["tokens_used"]) == (tenant, tokens)


async def test_usage_is_reported_by_deployment_user_and_day(stack: Stack) -> None:
    await stack.chat(user="ann")
    await stack.chat(user="bob")
    await stack.fault(kind="status", status=500)
    await stack.chat(user="bob")
    usage = await stack.manage("GET", f"/manage/tenants/{stack.tenant}/usage?group_by=deployment,user,day")
    assert (usage["requests"], usage["failed_requests"], usage["tokens_used"]) == (3, 1, 98)
    assert usage["total_cost_usd"] == "0.000845"
    assert [(user["user"], user["requests"], user["total_tokens"]) for user in usage["users"]] == [
        ("ann", 1, 49),
        ("bob", 2, 49),
    ]
    assert usage["deployments"][0] == {
        "content_filter": {},
        "deployment": "gpt-4o",
        "model": "gpt-4o",
        "requests": 3,
        "input_tokens": 18,
        "cached_input_tokens": 0,
        "output_tokens": 80,
        "total_tokens": 98,
        "cost_usd": "0.000845",
    }
    assert sum(day["total_tokens"] for day in usage["days"]) == 98
    assert usage["quota_tokens"] is None
    assert usage["utilization_percent"] is None


@pytest.mark.parametrize("query", ["period=2026-13", "period=26-1", "period=0000-01", "group_by=planet"])
async def test_bad_report_queries_are_refused(stack: Stack, query: str) -> None:
    refused = await stack.manage("GET", f"/manage/tenants/{stack.tenant}/usage?{query}", status=400)
    assert refused["error"]["param"] == query.partition("=")[0]


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "limit=\u00b2", "cursor=x"])
async def test_bad_pages_are_refused(stack: Stack, query: str) -> None:
    refused = await stack.manage("GET", f"/manage/tenants/{stack.tenant}/entries?{query}", status=400)
    assert refused["error"]["param"] == query.partition("=")[0]


async def test_entries_are_listed_newest_first_in_pages_and_filtered(stack: Stack) -> None:
    assert (await stack.manage("GET", f"/manage/tenants/{stack.tenant}/entries"))["data"] == []
    for user in ("ann", "bob", "ann", "ann"):
        await stack.chat(user=user)
    path = f"/manage/tenants/{stack.tenant}/entries"
    first = await stack.manage("GET", f"{path}?limit=3")
    second = await stack.manage("GET", f"{path}?limit=3&cursor={first['next_cursor']}")
    assert [entry["seq"] for entry in first["data"] + second["data"]] == [4, 3, 2, 1]
    assert second["next_cursor"] is None
    ann = await stack.manage("GET", f"{path}?user=ann&limit=2")
    assert [entry["seq"] for entry in ann["data"]] == [4, 3]
    rest = await stack.manage("GET", f"{path}?user=ann&limit=2&cursor={ann['next_cursor']}")
    assert [entry["seq"] for entry in rest["data"]] == [1]
    third = first["data"][1]["timestamp"]
    assert [e["seq"] for e in (await stack.manage("GET", f"{path}?from={third}"))["data"]][-1] <= 3
    assert all(e["timestamp"] < third for e in (await stack.manage("GET", f"{path}?to={third}"))["data"])


async def test_a_new_quota_takes_effect_at_once_and_is_an_entry(stack: Stack) -> None:
    await stack.chat()
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"monthly_quota_tokens": 60})
    status, _, body = await stack.chat()
    entries = await stack.entries()
    assert (status, body["error"]["code"]) == (429, "quota_exceeded")
    assert (entries[-1]["kind"], entries[-1]["quota_tokens"], entries[-1]["actor"]) == ("limit", 60, "admin-key")
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"monthly_budget_usd": "1.00", "name": "x"})
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"name": "y"})
    assert [entry["budget_usd"] for entry in (await stack.entries())[1:]] == [None, "1.00"]
    assert (await stack.usage())["requests"] == 1


async def test_a_grant_raises_the_limit_once_and_outlives_other_changes(stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}"
    await stack.manage("PATCH", path, {"monthly_quota_tokens": 1000, "monthly_budget_usd": "2.00", "reason": "trial"})
    grant = {"tokens": 500, "usd": "0.50", "reason": "launch week", "grant_id": "ticket-1"}
    first = await stack.manage("POST", f"{path}/grants", grant, status=201)
    assert first["grant_id"] == "ticket-1"
    assert (first["quota_tokens"], first["budget_usd"]) == (1500, "2.50")
    assert await stack.manage("POST", f"{path}/grants", grant, status=201) == first
    await stack.manage("PATCH", path, {"name": "renamed"})
    assert (await stack.usage())["quota_tokens"] == 1500
    await stack.manage("PATCH", path, {"monthly_quota_tokens": 2000, "reason": "paid"})
    report = await stack.usage()
    assert (report["quota_tokens"], report["budget_usd"]) == (2500, "2.50")
    entries = await stack.entries()
    assert [(entry["actor"], entry["reason"]) for entry in entries] == [
        ("admin-key", "launch week"),
        ("admin-key", "paid"),
    ]
    assert entries[0]["reference"] == "grant/ticket-1"
    unnamed = await stack.manage("POST", f"{path}/grants", {"tokens": 1, "reason": "more"}, status=201)
    assert (len(unnamed["grant_id"]), unnamed["quota_tokens"]) == (32, 2501)


async def test_a_grant_may_be_of_the_next_period_and_of_no_other(stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}/grants"
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"monthly_quota_tokens": 1000})
    current = BillingPeriod.containing((await stack.gateway()).clock.now())
    granted = await stack.manage("POST", path, {"tokens": 5, "reason": "r", "period": str(current.next())}, status=201)
    assert (granted["period"], granted["quota_tokens"]) == (str(current.next()), 1005)
    for body, param in (
        ({"tokens": 5, "reason": "r", "period": str(current.previous())}, "period"),
        ({"tokens": 5, "reason": "r", "period": "2026-13"}, "period"),
        ({"tokens": 5}, "reason"),
        ({"tokens": -5, "reason": "r"}, "tokens"),
        ({"tokens": 10**15, "reason": "r"}, "tokens"),
        ({"reason": "r"}, "tokens"),
        ({"usd": "1.00", "reason": "r"}, "usd"),
        ({"tokens": 5, "reason": "r", "grant_id": "a/b"}, "grant_id"),
        ({"tokens": 5, "reason": "r", "who": "me"}, "who"),
    ):
        assert (await stack.manage("POST", path, body, status=400))["error"]["param"] == param
    await stack.manage("POST", "/manage/tenants/nobody/grants", {"tokens": 5, "reason": "r"}, status=404)


async def test_a_tenant_can_become_hot_and_cold_again(stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}"
    await stack.manage("PATCH", path, {"monthly_quota_tokens": 60_000})
    await stack.chat()
    for refused in (0, 65, None, "2"):
        assert (await stack.manage("PATCH", path, {"lanes": refused}, status=400))["error"]["param"] == "lanes"
    assert (await stack.manage("PATCH", path, {"lanes": 3}))["lanes"] == 3
    _, headers, _ = await stack.chat()
    assert int(headers["x-gateway-quota-remaining-tokens"]) < 10_000
    listed = (await stack.manage("GET", f"{path}/entries"))["data"]
    moves = {entry["kind"]: entry for entry in listed if "moved_tokens" in entry}
    out, arrived = moves["transfer_out"], moves["transfer_in"]
    assert (out["lane"], arrived["lane"]) == (0, 1)
    assert (out["moved_tokens"], arrived["moved_tokens"]) == (-10_000, 10_000)
    assert (out["reference"][:3], arrived["reference"][:3]) == ("01/", "00/")
    assert out["reference"][3:] == arrived["reference"][3:]
    assert [entry["lane"] for entry in listed if entry["kind"] == "charge"] == [1, 0]
    assert (await stack.usage())["requests"] == 2
    await stack.manage("PATCH", path, {"lanes": 1})
    assert (await stack.chat())[0] == 200
    assert (await stack.manage("GET", f"{path}/entries?limit=1"))["data"][0]["lane"] == 0


async def test_a_suspended_tenant_is_refused_and_its_key_stays_valid(stack: Stack) -> None:
    await stack.manage("POST", f"/manage/tenants/{stack.tenant}/suspend")
    status, _, body = await stack.chat()
    assert (status, body["error"]["code"]) == (403, "tenant_suspended")
    await stack.manage("POST", f"/manage/tenants/{stack.tenant}/resume")
    assert (await stack.chat())[0] == 200


async def test_prices_are_inserted_once_and_listed(stack: Stack) -> None:
    row = {"model": "gpt-5", "meter": "input", "usd_per_million": "1.25", "effective_from": "2025-08-07T00:00:00+02:00"}
    first = await stack.manage("POST", "/manage/prices", row, status=201)
    again = await stack.manage("POST", "/manage/prices", row, status=200)
    listed = [price for price in (await stack.manage("GET", "/manage/prices"))["data"] if price["model"] == "gpt-5"]
    assert listed == [first] == [again]
    assert first["effective_from"] == "2025-08-06T22:00:00Z"
    for change, param in (({"usd_per_million": "0.0000001"}, "usd_per_million"), ({"meter": "smiles"}, "meter")):
        refused = await stack.manage("POST", "/manage/prices", {**row, **change}, status=400)
        assert refused["error"]["param"] == param


async def test_backends_and_deployments_are_put_got_and_listed(stack: Stack) -> None:
    definition = {
        "endpoint": "https://contoso.openai.azure.com",
        "upstream_deployment": "gpt",
        "model": "gpt-4o",
        "region": "eastus",
    }
    put = await stack.manage("PUT", "/manage/backends/a%2Fb%20%23c", definition)
    assert put["backend_id"] == "a/b #c"
    assert await stack.manage("GET", "/manage/backends/a%2Fb%20%23c") == put
    assert put in (await stack.manage("GET", "/manage/backends"))["data"]
    deployment = await stack.manage(
        "PUT", "/manage/deployments/d%2F1", {"backends": ["a/b #c"], "max_output_tokens": 5}
    )
    assert await stack.manage("GET", "/manage/deployments/d%2F1") == deployment
    assert deployment in (await stack.manage("GET", "/manage/deployments"))["data"]
    replaced = await stack.manage("PUT", "/manage/deployments/d%2F1", {"backends": ["a/b #c"]})
    assert replaced["max_output_tokens"] is None
    unknown = await stack.manage("PUT", "/manage/deployments/x", {"backends": ["nothing"]}, status=400)
    assert unknown["error"]["param"] == "backends"
    empty = await stack.manage("PUT", "/manage/deployments/%20", {"backends": ["a/b #c"]}, status=400)
    assert empty["error"]["param"] == "deployment"


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://evil.example",
        "http://contoso.openai.azure.com",
        "https://user:pass@contoso.openai.azure.com",
        "https://contoso.openai.azure.com/?x=1",
        "https://contoso.openai.azure.com/../x",
        "https://contoso.openai.azure.com#x",
        "https://[broken",
        "https://contoso.openai.azure.com:port",
        "file:///etc/passwd",
        "http://169.254.169.254/metadata",
    ],
)
async def test_backends_elsewhere_are_refused(stack: Stack, endpoint: str) -> None:
    definition = {"endpoint": endpoint, "upstream_deployment": "x", "model": "x", "region": "x"}
    refused = await stack.manage("PUT", "/manage/backends/x", definition, status=400)
    assert refused["error"]["param"] == "endpoint"


async def test_health_readiness_and_the_api_description(stack: Stack) -> None:
    async with stack.session.get(f"{stack.url}/healthz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})
    async with stack.session.get(f"{stack.url}/readyz") as response:
        assert (response.status, (await response.json())["status"]) == (200, "ready")
    async with stack.session.get(f"{stack.url}/reference/openapi.json") as response:
        document = await response.json()
    assert document["openapi"] == "3.1.0"
    assert "TenantRegistration" in document["components"]["schemas"]
