"""Pools of backends in the management API: refusals, what is shown, and when changes take effect."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.application.ports.routing import Hint
from shared.domain.routing.residency import Residency
from shared.domain.tenancy.tenant import Tenant
from tests.tools.events import told
from tests.tools.stack import REGIONS, Stack, eventually, free_port

SWEDEN, GERMANY, FRANCE, VIRGINIA, TOKYO = REGIONS


@pytest.fixture
async def regions(stack: Stack) -> Stack:
    await stack.pool(*REGIONS)
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"deployments": ["gpt-4o"]})
    return stack


async def refused(stack: Stack, method: str, path: str, body: Any = None) -> tuple[str, str]:
    """Return the field and the reason of a refusal."""
    answer = await stack.manage(method, path, body, status=400)
    return answer["error"]["param"], answer["error"]["message"]


def backend(stack: Stack, where: str, **fields: Any) -> dict[str, Any]:
    definition = {"endpoint": f"{stack.simulator_url}/{where}", "upstream_deployment": "gpt-4o", "model": "gpt-4o"}
    return {**definition, "region": where, "auth": "api_key", **fields}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"sku": "Standart"}, "sku"),
        ({"sku": "DataZoneStandard", "zone": "us"}, "zone"),
        ({"sku": "OnPremises", "region": "berlin", "api": "openai"}, "zone"),
        ({"headers": {"Authorization": "x"}}, "headers.Authorization.[key]"),
        ({"headers": {"x": "a\r\nb: c"}}, "headers.x"),
        ({"headers": {"x y": "a"}}, "headers.x y.[key]"),
        ({"authority": "http://login.example"}, "authority"),
        ({"api": "soap"}, "api"),
        ({"weight": -1}, "weight"),
        ({"max_concurrent_requests": 0}, "max_concurrent_requests"),
    ],
)
async def test_an_impossible_backend_is_refused(stack: Stack, fields: dict[str, Any], param: str) -> None:
    named, _ = await refused(stack, "PUT", "/manage/backends/new", backend(stack, SWEDEN, **fields))
    assert named == param
    await stack.manage("GET", "/manage/backends/new", status=404)


async def test_the_zone_follows_from_the_region(stack: Stack) -> None:
    await stack.manage("PUT", "/manage/backends/new", backend(stack, VIRGINIA, sku="DataZoneStandard"))
    assert (await stack.manage("GET", "/manage/backends/new"))["zone"] == "us"


async def test_a_change_that_leaves_a_tenant_without_any_backend_is_refused_with_the_reason(regions: Stack) -> None:
    tenant = f"/manage/tenants/{regions.tenant}"
    await regions.manage("PATCH", tenant, {"residency": {"zones": ["eu"]}})
    assert (
        "could no longer serve"
        in (await refused(regions, "PUT", "/manage/deployments/gpt-4o", {"backends": [VIRGINIA, TOKYO]}))[1]
    )
    await regions.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [SWEDEN, TOKYO]})
    for fields in ({"weight": 0}, {"region": "westus", "zone": "us"}, {"sku": "GlobalStandard"}):
        _, why = await refused(regions, "PUT", f"/manage/backends/{SWEDEN}", backend(regions, SWEDEN, **fields))
        assert regions.tenant in why
    param, why = await refused(regions, "PATCH", tenant, {"residency": {"zones": ["us"]}})
    assert (param, "Standard in swedencentral" in why, "Standard in japaneast" in why) == ("residency", True, True)
    assert (await regions.chat())[0] == 200


async def store_tenant_of_an_older_version(stack: Stack, tenant_id: str, *deployments: str) -> None:
    """Store a tenant of the EU, whose deployments need not exist."""
    gateway = await stack.gateway()
    residency = Residency(("eu",), allow_global=False)
    tenant = Tenant(
        tenant_id=tenant_id, name="", created_at=gateway.clock.now(), deployments=deployments, residency=residency
    )
    await gateway.tenancy.tenants._tenants.insert(tenant, told())


async def test_a_tenant_that_could_not_be_served_before_is_no_obstacle_to_other_changes(regions: Stack) -> None:
    await regions.set_residency("mars")
    await regions.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [SWEDEN]})
    other = f"{regions.tenant}-other"
    fields = {"tenant_id": other, "deployments": ["gpt-4o"], "residency": {"zones": ["us"]}}
    assert (await refused(regions, "POST", "/manage/tenants", fields))[0] == "residency"
    await store_tenant_of_an_older_version(regions, other, "gpt-4o", "later")
    assert (await refused(regions, "PUT", "/manage/deployments/later", {"backends": [VIRGINIA]}))[0] == "backends"
    await regions.manage("DELETE", f"/manage/tenants/{other}")
    await regions.manage("PUT", "/manage/deployments/later", {"backends": [VIRGINIA]})


async def test_backends_and_deployments_that_are_named_must_exist(regions: Stack) -> None:
    deployment, tenant = "/manage/deployments/gpt-4o", f"/manage/tenants/{regions.tenant}"
    assert (await refused(regions, "PUT", deployment, {"backends": ["gone"]}))[0] == "backends"
    for fallbacks in (["gone"], ["gpt-4o"]):
        assert (await refused(regions, "PUT", deployment, {"backends": [SWEDEN], "fallbacks": fallbacks}))[
            0
        ] == "fallbacks"
    wrong: tuple[dict[str, list[str]], ...] = ({"gpt-4o": ["gone"]}, {"gpt-4o-mini": [SWEDEN]}, {"gpt-4o": []})
    for pools in wrong:
        assert (await refused(regions, "PATCH", tenant, {"pools": pools}))[0].startswith("pools")


async def test_the_own_pool_of_a_tenant_must_lie_within_its_residency(regions: Stack) -> None:
    tenant = f"/manage/tenants/{regions.tenant}"
    await regions.manage("PATCH", tenant, {"residency": {"zones": ["eu"]}, "pools": {"gpt-4o": [SWEDEN, TOKYO]}})
    assert (await refused(regions, "PATCH", tenant, {"pools": {"gpt-4o": [TOKYO]}}))[0] == "pools"
    assert {(await regions.chat())[1]["x-gateway-region"] for _ in range(5)} == {SWEDEN}


async def test_a_backend_can_be_deleted_once_nothing_names_it(regions: Stack) -> None:
    await regions.manage("PATCH", f"/manage/tenants/{regions.tenant}", {"pools": {"gpt-4o": [TOKYO]}})
    _, why = await refused(regions, "DELETE", f"/manage/backends/{TOKYO}")
    assert f"deployment 'gpt-4o', tenant '{regions.tenant}'" in why
    await regions.manage("PATCH", f"/manage/tenants/{regions.tenant}", {"pools": {}})
    await regions.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [SWEDEN]})
    await regions.manage("DELETE", f"/manage/backends/{TOKYO}")
    await regions.manage("GET", f"/manage/backends/{TOKYO}", status=404)
    await regions.manage("DELETE", f"/manage/backends/{TOKYO}", status=404)


async def test_a_region_with_weight_zero_is_drained_and_keeps_its_stored_responses(regions: Stack) -> None:
    await regions.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [SWEDEN, GERMANY]})
    url, headers = f"{regions.url}/openai/v1/responses", {"api-key": regions.key}
    made: dict[str, str] = {}
    while len(made) < 2:
        async with regions.session.post(url, json={"model": "gpt-4o", "input": "Hi"}, headers=headers) as answer:
            made[answer.headers["x-gateway-backend"]] = (await answer.json())["id"]
    await regions.backend(SWEDEN, weight=0)
    assert {(await regions.chat())[1]["x-gateway-region"] for _ in range(9)} == {GERMANY}
    async with regions.session.get(f"{url}/{made[SWEDEN]}", headers=headers) as answer:
        assert answer.status == 200
    follow = {"model": "gpt-4o", "input": "And?", "previous_response_id": made[SWEDEN]}
    async with regions.session.post(url, json=follow, headers=headers) as answer:
        assert (answer.status, answer.headers["x-gateway-backend"]) == (200, SWEDEN)


async def test_a_backend_can_be_put_again_as_it_is_shown(regions: Stack) -> None:
    """The runbook drains a region in this way."""
    await regions.backend(TOKYO, weight=7, headers={"x-a": "b"}, max_concurrent_requests=9)
    shown = await regions.manage("GET", f"/manage/backends/{TOKYO}")
    definition = {name: value for name, value in shown.items() if name not in ("backend_id", "health")}
    drained = await regions.manage("PUT", f"/manage/backends/{TOKYO}", {**definition, "weight": 0})
    assert drained == {**shown, "weight": 0}
    assert await regions.manage("PUT", f"/manage/backends/{TOKYO}", definition) == shown


async def test_the_health_of_a_backend_is_shown_with_its_measurements(regions: Stack) -> None:
    await regions.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [SWEDEN]})
    fresh = (await regions.health())[SWEDEN]
    assert (fresh["state"], fresh["requests"], fresh["latency_ms"], fresh["last_error_at"]) == ("closed", 0, None, None)
    await regions.chat()
    await regions.fault(kind="status", status=429, headers={"retry-after": "60"})
    await regions.chat()
    health = (await regions.manage("GET", f"/manage/backends/{SWEDEN}"))["health"]
    assert (health["requests"], health["failures"], health["in_flight"], health["state"]) == (2, 1, 0, "open")
    assert (health["recent_requests"], health["recent_failures"]) == (1, 0), "a refusal for now is no failure"
    assert (health["reason"], health["last_error"], health["remaining_requests"]) == ("status 429", "status 429", 998)
    assert health["last_error_at"] < health["open_until"]
    assert health["latency_ms"] >= 0
    assert health["remaining_tokens"] < 1_000_000
    assert health["instance"] == (await regions.gateway()).settings.website_instance_id


async def test_a_dry_run_names_the_backend_that_would_serve_and_why_others_would_not(regions: Stack) -> None:
    await regions.backend(SWEDEN, "ptu", sku="ProvisionedManaged")
    await regions.backend(FRANCE, max_concurrent_requests=1)
    await regions.backend(VIRGINIA, weight=0)
    await regions.backend(SWEDEN, "spare", priority=2)
    await regions.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [*REGIONS, "ptu", "spare"]})
    await regions.manage("PATCH", f"/manage/tenants/{regions.tenant}", {"residency": {"zones": ["eu", "us"]}})
    gateway = await regions.gateway()
    backends = (await gateway.routing.catalog.load()).backends
    now = gateway.clock.monotonic()
    for _ in range(3):
        gateway.routing.dispatcher.health(backends[GERMANY]).failed(now, "status 500", is_probe=False)
    gateway.routing.dispatcher.health(backends[FRANCE]).started(now, 0)
    gateway.routing.dispatcher.health(backends["ptu"]).throttled(now, 9, "status 429", is_probe=False)

    explained = await explain(regions)
    assert explained["outcome"] == f"backend '{SWEDEN}' would serve it"
    reasons = {each["backend"]: each["reason"] for each in explained["backends"]}
    assert reasons.pop(SWEDEN).startswith("weighted random choice")
    assert reasons.pop("ptu").startswith("open after status 429, for ")
    assert reasons.pop(GERMANY).startswith("open after status 500, for ")
    assert reasons == {
        FRANCE: "full: 1 requests are under way",
        VIRGINIA: "drained: its weight is 0",
        TOKYO: f"residency: Standard in {TOKYO} processes in '{TOKYO}', which is not among the allowed zones",
        "spare": "a better tier can serve it",
    }
    assert [each["backend"] for each in explained["backends"]][:1] == ["ptu"]
    assert await regions.requests() == []


async def explain(stack: Stack, **asked: Any) -> Any:
    return await stack.manage("POST", "/manage/route", {"tenant_id": stack.tenant, "deployment": "gpt-4o", **asked})


async def test_a_dry_run_considers_probes_headroom_and_tenants_that_cannot_be_served(regions: Stack) -> None:
    await regions.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [SWEDEN, GERMANY, FRANCE]})
    gateway = await regions.gateway()
    backends, now = (await gateway.routing.catalog.load()).backends, gateway.clock.monotonic()
    sweden, germany, france = (gateway.routing.dispatcher.health(backends[name]) for name in (SWEDEN, GERMANY, FRANCE))
    for _ in range(3):
        sweden.failed(now - 60, "status 500", is_probe=False)
    sweden.started(now, 0)
    germany.note_headroom(now, None, 10)
    reasons = {each["backend"]: each["reason"] for each in (await explain(regions, tokens=100))["backends"]}
    assert reasons[SWEDEN] == "half open after status 500: one request is trying it"
    assert reasons[GERMANY].startswith("no headroom")
    drawn = [
        each
        for each in (await explain(regions))["backends"]
        if each["reason"] == "another backend of its tier was chosen"
    ]
    assert len(drawn) == 1
    for health in (germany, france):
        health.throttled(now, 99, "status 429", is_probe=False)
    assert (await explain(regions))["outcome"] == "no backend can serve it now"
    await regions.set_residency("mars")
    assert "where this tenant's data may be processed" in (await explain(regions))["outcome"]
    for missing in ({"tenant_id": "nobody"}, {"deployment": "none"}):
        body = {"tenant_id": regions.tenant, "deployment": "gpt-4o", **missing}
        await regions.manage("POST", "/manage/route", body, status=404)
    assert (await explain(regions, deployment="gpt-4o-mini"))["outcome"] == "the tenant may not call this deployment"


async def test_a_change_takes_effect_at_once_in_the_process_that_made_it(regions: Stack) -> None:
    await regions.backend(SWEDEN, "moved")
    await regions.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["moved"]})
    assert (await regions.chat())[1]["x-gateway-region"] == SWEDEN
    await regions.backend(GERMANY, "moved")
    assert (await regions.chat())[1]["x-gateway-region"] == GERMANY


async def test_a_process_stores_its_findings_for_processes_that_start_later(stack_on_tables: Stack) -> None:
    stack = stack_on_tables
    await stack.backend(SWEDEN, f"down-{stack.tenant}", endpoint=f"http://127.0.0.1:{free_port()}")
    await stack.manage("PUT", f"/manage/deployments/d-{stack.tenant}", {"backends": [f"down-{stack.tenant}"]})
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"deployments": [f"d-{stack.tenant}"]})
    url = stack.chat_url.replace("/gpt-4o/", f"/d-{stack.tenant}/")
    for _ in range(3):
        assert (await stack.chat(url=url))[0] == 503
    gateway = await stack.gateway()
    await eventually(lambda: not gateway.background.is_busy)
    hints = {hint.backend_id: hint for hint in (await gateway.routing.dispatcher._hints.store.load()).readable}
    assert hints[f"down-{stack.tenant}"].reason == "No backend of the deployment could be reached."


async def test_a_process_that_starts_during_an_outage_knows_of_it(regions: Stack) -> None:
    gateway = await regions.gateway()
    now = gateway.clock.now()
    for region in (SWEDEN, FRANCE, VIRGINIA, TOKYO):
        hint = Hint(
            backend_id=region,
            instance="another",
            noted_at=now,
            down_until=now + timedelta(seconds=60),
            reason="status 500",
        )
        await gateway.routing.dispatcher._hints.store.put(hint)
    gateway.routing.catalog._catalog.invalidate()  # a process that has just started has no catalog
    headers = [(await regions.chat())[1] for _ in range(9)]
    assert {(each["x-gateway-region"], each["x-gateway-attempts"]) for each in headers} == {(GERMANY, "1")}


async def test_connections_are_kept_and_used_again(stack: Stack) -> None:
    for _ in range(9):
        await stack.chat()
    gateway = await stack.gateway()
    session: Any = gateway.inference.serve._attempt._upstream._session  # type: ignore[attr-defined]
    assert session.connector is not None
    assert sum(len(each) for each in session.connector._conns.values()) == 1
    assert not session.connector.use_dns_cache
