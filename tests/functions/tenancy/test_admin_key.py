"""The administrator's key can be switched off; whoever signs in with Entra then manages the gateway."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from local.emulators.entra_objects import Application
from tests.tools.entra import running_entra, settings_of
from tests.tools.stack import ADMIN_KEY, CHAIN_KEY, HOST_KEY, running_host

MEMORY = {"TALLYGATE_STORAGE": "memory", "AUDIT_CHAIN_KEY": CHAIN_KEY}


async def statuses(url: str, *credentials: str) -> list[int]:
    """Return the answers of a management route to these bearer credentials."""
    found = []
    async with aiohttp.ClientSession(headers={"x-functions-key": HOST_KEY}) as session:
        for credential in credentials:
            headers = {"Authorization": f"Bearer {credential}"}
            async with session.get(f"{url}/manage/tenants", headers=headers) as response:
                found.append(response.status)
    return found


async def test_a_key_that_is_switched_off_is_refused_and_a_token_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_entra(monkeypatch, tmp_path) as entra:
        settings = {**MEMORY, **settings_of(entra), "ADMIN_API_KEY": ADMIN_KEY, "ADMIN_API_KEY_ENABLED": "false"}
        for name, text in settings.items():
            monkeypatch.setenv(name, text)
        async with running_host(tmp_path) as url:
            token = entra.token_of(Application(roles=("Gateway.Admin",)))
            assert await statuses(url, ADMIN_KEY, token) == [401, 200]
    assert "Nobody can manage" not in caplog.text


@pytest.mark.parametrize("key", [{}, {"ADMIN_API_KEY": ADMIN_KEY, "ADMIN_API_KEY_ENABLED": "false"}])
async def test_a_gateway_that_nobody_can_manage_says_so_when_it_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, key: dict[str, str]
) -> None:
    for name, text in {**MEMORY, **key}.items():
        monkeypatch.setenv(name, text)
    async with running_host(tmp_path) as url:
        assert await statuses(url, ADMIN_KEY) == [401]
    assert "Nobody can manage this gateway" in caplog.text
