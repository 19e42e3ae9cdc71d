"""Management input that could betray is refused when it is written, and the refusal names the field."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tools.stack import Stack

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
