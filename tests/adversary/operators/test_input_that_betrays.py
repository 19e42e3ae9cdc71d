"""Management input that could betray is refused when it is written, and the refusal names the field."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import pytest
from yarl import URL

from tests.tools.stack import ADMIN_KEY, Stack

INVISIBLE = ["a\r\nb: c", "a\x00b", "a\x1b[31m", "a\u202eb", "a\u200bb", "a\u2028b", "a\ud7ff\u0085b", " a", "a\t"]
BACKEND = {
    "endpoint": "https://contoso.openai.azure.com", "upstream_deployment": "gpt-4o", "model": "gpt-4o",
    "region": "swedencentral",
}  # fmt: skip


@pytest.mark.parametrize("text", INVISIBLE, ids=ascii)
async def test_names_hold_no_invisible_characters(stack: Stack, text: str) -> None:
    for field in ("region", "upstream_deployment", "model", "sku", "zone", "model_version", "api_version", "authority"):
        body = {**BACKEND, "api": "openai", field: text}
        refused = await stack.manage("PUT", "/manage/backends/new", body, status=400)
        assert refused["error"]["param"] == field
    fields: list[tuple[str, Any, str]] = [
        ("name", text, "name"), ("cost_center", text, "cost_center"), ("contact", text, "contact"),
        ("deployments", [text], "deployments.0"), ("residency", {"zones": [text]}, "residency.zones.0"),
        ("reason", text, "reason"),
    ]  # fmt: skip
    for field, value, param in fields:
        refused = await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {field: value}, status=400)
        assert refused["error"]["param"] == param
    for tags in ({text: "x"}, {"x": text}):
        refused = await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"tags": tags}, status=400)
        assert refused["error"]["param"].startswith("tags.")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "https://evil.example\\.openai.azure.com"}, "endpoint"),
        ({"region": "swedencentrall"}, "region"),
        ({"sku": "GlobalStandart"}, "sku"),
        ({"zone": "us"}, "zone"),
        ({"token_scope": "https://management.azure.com/.default"}, "token_scope"),
        ({"authority": "https://evil.example"}, "authority"),
    ],
)
async def test_a_backend_that_could_betray_is_refused(stack: Stack, changes: dict[str, str], param: str) -> None:
    refused = await stack.manage("PUT", "/manage/backends/new", {**BACKEND, **changes}, status=400)
    assert refused["error"]["param"] == param


@pytest.mark.parametrize(
    "stack_settings", [{"ALLOWED_REGIONS": "x , marscentral", "ALLOWED_ZONES": "m"}], indirect=True
)
async def test_settings_allow_new_values(stack: Stack) -> None:
    new = await stack.manage("PUT", "/manage/backends/new", {**BACKEND, "region": "marscentral", "zone": "m"})
    assert (new["region"], new["zone"]) == ("marscentral", "m")


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/manage/tenants?limt=5", "limt"),
        ("/manage/tenants?limit=5&limit=500", "limit"),
        ("/manage/tenants?cursor=a&cursor=a", "cursor"),
        ("/manage/tenants/{tenant}?period=2026-01", "period"),
        ("/manage/tenants/{tenant}/usage?Period=2026-01", "Period"),
        ("/manage/tenants/{tenant}/entries?period=2026-11&since=x", "since"),
        ("/manage/backends?x", "x"),
        ("/manage/prices?%00=1", "\x00"),
        ("/Manage/Tenants/{tenant}/?x=1", "x"),
    ],
)
async def test_query_parameters_that_nobody_reads_are_refused(stack: Stack, path: str, param: str) -> None:
    refused = await stack.manage("GET", path.replace("{tenant}", stack.tenant), status=400)
    assert refused["error"]["param"] == param


@pytest.mark.parametrize("path", ["/me?tenant=other", "/me/usage?period=2026-11&period=2026-10"])
async def test_tenants_are_told_so_too(stack: Stack, path: str) -> None:
    async with stack.session.get(stack.url + path, headers={"api-key": stack.key}) as response:
        assert response.status == 400
        assert (await response.json())["error"]["param"] in path


async def test_outsiders_are_not_told(stack: Stack) -> None:
    await stack.manage("GET", "/manage/tenants?x=1", status=401, api_key="x")


async def test_inference_passes_parameters_that_the_gateway_does_not_know(stack: Stack) -> None:
    assert (await stack.chat(url=f"{stack.chat_url}&feature=x&feature=y"))[0] == 200


async def test_dot_segments_lead_nowhere(stack: Stack) -> None:
    url = URL(f"{stack.url}/manage/x/%2e%2e/tenants", encoded=True)
    async with stack.session.get(url, headers={"api-key": ADMIN_KEY}) as response:
        assert response.status == 404


NO_ETAGS = ["", "x", '"open', "W/x", 'w/"x"', '*, "x"', "'x'", '"a" "b"', '"a",', '"\u00a0" x']


@pytest.mark.parametrize("text", NO_ETAGS)
async def test_if_match_that_is_no_etag_is_refused(stack: Stack, text: str) -> None:
    refused = await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"name": "x"}, status=400, if_match=text)
    assert refused["error"]["param"] == "If-Match"


async def test_if_match_is_obeyed_wherever_it_is_accepted_and_refused_elsewhere(stack_on_tables: Stack) -> None:
    stack, path = stack_on_tables, f"/manage/tenants/{stack_on_tables.tenant}"
    async with stack.session.get(stack.url + path, headers={"api-key": ADMIN_KEY}) as response:
        old = response.headers["etag"]
    await stack.manage("PATCH", path, {"name": "first"}, if_match=f'"other", {old}')
    for method, below in (("PATCH", ""), ("POST", "/suspend"), ("POST", "/resume"), ("DELETE", "")):
        for stale in (old, '"other"', f'W/"x",{old}'):
            await stack.manage(method, path + below, {}, status=412, if_match=stale)
    await stack.manage("PATCH", path, {"name": "second"}, if_match="*")
    for method, where in (("POST", f"{path}/keys"), ("PUT", "/manage/backends/new"), ("POST", "/manage/prices")):
        refused = await stack.manage(method, where, {}, status=400, if_match="*")
        assert refused["error"]["param"] == "If-Match"
    assert (await stack.manage("GET", path))["name"] == "second"


@pytest.mark.parametrize("moment", ["2020-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00+14:00"])
async def test_a_key_that_would_have_expired_is_refused(stack: Stack, moment: str) -> None:
    path = f"/manage/tenants/{stack.tenant}/keys"
    refused = await stack.manage("POST", path, {"expires_at": moment}, status=400)
    assert refused["error"]["param"] == "expires_at"


@pytest.mark.parametrize(
    "moment",
    [
        "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", 1_900_000_000, 1_900_000_000_000, 20_300_101, 1.9e9,
        "1900000000", "+1900000000.5", "2030-01-01T00:00:00", "", True, "1e9", " 1900000000 ",
    ],
)  # fmt: skip
async def test_a_moment_that_readers_take_differently_or_that_no_one_reaches_is_refused(
    stack: Stack, moment: Any
) -> None:
    refused = await stack.manage("POST", f"/manage/tenants/{stack.tenant}/keys", {"expires_at": moment}, status=400)
    assert refused["error"]["param"] == "expires_at"


async def test_a_tenant_cannot_name_deployments_that_do_not_exist(stack: Stack) -> None:
    new = {"tenant_id": "typo", "deployments": ["gpt-4o", "gpt-4", "gpt-4oo"]}
    refused = await stack.manage("POST", "/manage/tenants", new, status=400)
    assert refused["error"]["param"] == "deployments"
    assert "'gpt-4', 'gpt-4oo'" in refused["error"]["message"]
    change = {"deployments": ["gpt-4"]}
    refused = await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", change, status=400)
    assert refused["error"]["param"] == "deployments"


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("PATCH", "/manage/tenants/{tenant}", {"deployments": [f"d{number}" for number in range(501)]}, "deployments"),
        ("PATCH", "/manage/tenants/{tenant}", {"tags": {f"t{number}": "x" for number in range(51)}}, "tags"),
        ("PATCH", "/manage/tenants/{tenant}", {"tags": {"": "x"}}, "tags..[key]"),
        ("PATCH", "/manage/tenants/{tenant}", {"tags": {"a": "x" * 257}}, "tags.a"),
        ("PATCH", "/manage/tenants/{tenant}", {"name": "x" * 257}, "name"),
        ("PATCH", "/manage/tenants/{tenant}", {"reason": "x" * 257}, "reason"),
        ("PATCH", "/manage/tenants/{tenant}", {"residency": {"zones": ["eu"] * 501}}, "residency.zones"),
        ("PATCH", "/manage/tenants/{tenant}", {"pools": {"gpt-4o": ["x"] * 101}}, "pools.gpt-4o"),
        ("PATCH", "/manage/tenants/{tenant}", {"pools": {f"d{n}": ["x"] for n in range(101)}}, "pools"),
        ("PUT", "/manage/deployments/x", {"backends": ["se-gpt-4o"] * 101}, "backends"),
        ("PUT", "/manage/deployments/x", {"backends": ["se-gpt-4o"], "fallbacks": ["gpt-4o"] * 101}, "fallbacks"),
        ("PUT", "/manage/backends/x", {**BACKEND, "headers": {f"x-{n}": "x" for n in range(21)}}, "headers"),
        ("PUT", "/manage/backends/x", {**BACKEND, "api_version": "x" * 65}, "api_version"),
    ],
)  # fmt: skip
async def test_everything_has_a_bound(stack: Stack, method: str, path: str, body: dict[str, Any], param: str) -> None:
    refused = await stack.manage(method, path.replace("{tenant}", stack.tenant), body, status=400)
    assert refused["error"]["param"] == param


async def test_the_longest_system_prompt_can_be_stored_and_changed(stack_on_tables: Stack) -> None:
    prompt = "\u00fc\U0001f600" * 8192
    for _ in range(2):
        body = {"backends": ["se-gpt-4o"], "system_prompt": prompt}
        stored = await stack_on_tables.manage("PUT", "/manage/deployments/long", body)
        assert stored["system_prompt"] == prompt
    assert (await stack_on_tables.manage("GET", "/manage/deployments/long"))["system_prompt"] == prompt


@pytest.mark.parametrize(
    ("below", "param"),
    [
        (f"?limit={'9' * 5000}", "limit"),
        (f"?cursor={'9' * 5000}", "cursor"),
        ("?cursor=%27%00", "cursor"),
        (f"/{{tenant}}/entries?cursor=1:{'9' * 5000}", "cursor"),
        (f"/{{tenant}}/entries?cursor={'9' * 5000}:1", "cursor"),
        (f"/{{tenant}}/entries?cursor={','.join(['1:1'] * 100)}", "cursor"),
        ("/{tenant}/entries?from=yesterday", "from"),
        ("/{tenant}/entries?to=2026-11-01T00:00:00", "to"),
        ("/{tenant}/entries?to=2026-11-01T00:00:00+02:00", "to"),
        ("/{tenant}/entries?to=0001-01-01T00:00:00%2B02:00", "to"),
    ],
)
async def test_queries_that_no_one_can_answer_are_refused(stack: Stack, below: str, param: str) -> None:
    path = f"/manage/tenants{below}".replace("{tenant}", stack.tenant)
    assert (await stack.manage("GET", path, status=400))["error"]["param"] == param


async def test_times_of_a_query_are_moments_and_not_texts(stack: Stack) -> None:
    await stack.chat()
    (entry,) = await stack.entries()
    made = datetime.fromisoformat(entry["timestamp"])
    path = f"/manage/tenants/{stack.tenant}/entries"
    for moment, expected in ((made, 1), (made + timedelta(milliseconds=1), 0)):
        for text in (moment.isoformat(), moment.astimezone(timezone(timedelta(hours=14))).isoformat()):
            assert len((await stack.manage("GET", f"{path}?from={quote(text)}"))["data"]) == expected
            assert len((await stack.manage("GET", f"{path}?to={quote(text)}"))["data"]) == 1 - expected
    assert len((await stack.manage("GET", f"{path}?from={made:%Y-%m-%d}"))["data"]) == 1


@pytest.mark.parametrize("key", ["9" * 65, "%00", "a%0Ab"])
async def test_what_cannot_be_a_key_id_is_not_looked_up(stack: Stack, key: str) -> None:
    url = URL(f"{stack.url}/manage/tenants/{stack.tenant}/keys/{key}", encoded=True)
    async with stack.session.delete(url, headers={"api-key": ADMIN_KEY}) as response:
        assert response.status == 404


async def test_a_response_id_that_no_row_can_have_is_unknown(stack_on_tables: Stack) -> None:
    headers = {"api-key": stack_on_tables.key}
    async with stack_on_tables.session.get(
        f"{stack_on_tables.url}/openai/v1/responses/{'9' * 513}", headers=headers
    ) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (404, "response_not_found")
