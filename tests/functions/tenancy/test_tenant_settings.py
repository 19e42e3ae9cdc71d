"""PATCH of every tenant setting: accepted values read back, and refusals name the setting. Finds new settings."""

from __future__ import annotations

from typing import Any

import pytest

from shared.http.management.models import TenantSettings
from tests.tools.json_samples import ANYTHING, samples
from tests.tools.stack import ADMIN_KEY, Stack

SCHEMA = TenantSettings.model_json_schema()
SETTINGS = tuple(TenantSettings.model_fields)


FITTING = {"residency": {"zones": ["eu"], "allow_global": False}}
"""Values that only this configuration accepts."""


def values_of(setting: str) -> list[Any]:
    fitting = [FITTING[setting]] if setting in FITTING else []
    return [*ANYTHING, *samples(SCHEMA["properties"][setting], SCHEMA["$defs"]), *fitting]


@pytest.mark.parametrize("setting", SETTINGS)
async def test_a_setting_that_is_accepted_reads_back_and_one_that_is_refused_changes_nothing(
    stack: Stack, setting: str
) -> None:
    path = f"/manage/tenants/{stack.tenant}"
    await name_a_backend_and_a_deployment_x(stack)
    original = await stack.manage("GET", path)
    accepted = 0
    for sent in values_of(setting):
        before = await stack.manage("GET", path)
        status, answer = await sent_to(stack, "PATCH", path, {setting: sent})
        if status == 200:
            accepted += 1
            assert covers(answer[setting], sent), (sent, answer)
            assert answer == before | {setting: answer[setting]}
            expected = answer
        else:
            assert (status, answer["error"]["code"]) == (400, "invalid_request"), sent
            assert answer["error"]["param"].partition(".")[0] == setting
            expected = before
        assert await stack.manage("GET", path) == expected
        assert expected in (await stack.manage("GET", "/manage/tenants"))["data"]
        assert (await stack.chat())[0] < 500, sent
    assert accepted > 0
    await stack.manage("PATCH", path, {setting: original[setting]})
    assert await stack.manage("GET", path) == original
    assert (await stack.chat())[0] == 200


async def test_null_at_registration_reads_back_or_registers_nobody(stack: Stack) -> None:
    for number, setting in enumerate(SETTINGS):
        tenant_id = f"new-{number}"
        status, answer = await sent_to(stack, "POST", "/manage/tenants", {"tenant_id": tenant_id, setting: None})
        if status == 201:
            assert answer[setting] is None
            assert await stack.manage("GET", f"/manage/tenants/{tenant_id}") == answer
        else:
            assert (status, answer["error"]["param"]) == (400, setting)
            await stack.manage("GET", f"/manage/tenants/{tenant_id}", status=404)


async def name_a_backend_and_a_deployment_x(stack: Stack) -> None:
    """Make the deployment that the samples name."""
    await stack.backend("swedencentral", "x")
    await stack.manage("PUT", "/manage/deployments/x", {"backends": ["x"]})
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"deployments": ["gpt-4o", "x"]})


async def sent_to(stack: Stack, method: str, path: str, body: Any) -> tuple[int, Any]:
    headers = {"api-key": ADMIN_KEY}
    async with stack.session.request(method, f"{stack.url}{path}", json=body, headers=headers) as response:
        return response.status, await response.json()


def covers(shown: Any, sent: Any) -> bool:
    """Return true if all sent fields are shown. An object may show defaults as well."""
    if isinstance(sent, dict) and isinstance(shown, dict):
        return all(covers(shown.get(name), value) for name, value in sent.items() if value is not None)
    return bool(shown == sent)
