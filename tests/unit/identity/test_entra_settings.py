"""The settings of Entra ID: what is refused, and which rules follow from them."""

from __future__ import annotations

import aiohttp
import pytest

from shared.adapters.clock import StorageClock
from shared.composition.identity import access_tokens
from shared.setting_problems import SettingsInvalid
from shared.settings import Settings, read_settings

TENANT, CLIENT = "AAAAAAAA-1111-4111-8111-111111111111", "BBBBBBBB-1111-4111-8111-111111111111"
GOOD = {
    "TALLYGATE_STORAGE": "memory", "AUDIT_CHAIN_KEY": "0123456789abcdef" * 2,
    "ENTRA_TENANT_IDS": TENANT, "ENTRA_CLIENT_ID": CLIENT,
}  # fmt: skip


def read(monkeypatch: pytest.MonkeyPatch, **changes: str) -> Settings:
    for name, value in {**GOOD, **changes}.items():
        monkeypatch.setenv(name, value)
    return read_settings()


WRONG = [
    ({"ENTRA_TENANT_IDS": "common"}, "ENTRA_TENANT_IDS must hold ids"),
    ({"ENTRA_TENANT_IDS": f"{TENANT},contoso.example"}, "ENTRA_TENANT_IDS must hold ids"),
    ({"ENTRA_TENANT_IDS": "9188040d-6c67-4c5b-b112-36a304b66dad"}, "ENTRA_TENANT_IDS must not hold the directory of"),
    ({"ENTRA_TENANT_IDS": ""}, "ENTRA_CLIENT_ID and ENTRA_TENANT_IDS require each other"),
    ({"ENTRA_CLIENT_ID": ""}, "ENTRA_CLIENT_ID and ENTRA_TENANT_IDS require each other"),
    ({"ENTRA_CLIENT_ID": "api://gateway"}, "ENTRA_CLIENT_ID must be the id"),
    ({"ENTRA_AUTHORITY": "http://login.microsoftonline.com"}, "ENTRA_AUTHORITY must be an https URL"),
    ({"ENTRA_AUTHORITY": "https://login.microsoftonline.com/common"}, "ENTRA_AUTHORITY must be an https URL"),
    ({"ENTRA_AUDIENCES": "gateway"}, "ENTRA_AUDIENCES must hold application ID URIs"),
    ({"ENTRA_AUDIENCES": "https://a#b"}, "ENTRA_AUDIENCES must hold application ID URIs"),
    ({"ENTRA_AUDIENCES": "https://cognitiveservices.azure.com"}, "ENTRA_AUDIENCES holds a service of Microsoft"),
    ({"ENTRA_AUDIENCES": "api://x, https://GRAPH.microsoft.com/"}, "ENTRA_AUDIENCES holds a service of Microsoft"),
    ({"ENTRA_AUDIENCES": "https://graph.windows.net"}, "ENTRA_AUDIENCES holds a service of Microsoft"),
    ({"ENTRA_LEGACY_AUDIENCES": "ai.azure.com"}, "ENTRA_LEGACY_AUDIENCES must hold application ID URIs"),
    ({"ENTRA_SCOPES": ","}, "ENTRA_SCOPES must hold names"),
    ({"ENTRA_SCOPES": "two words"}, "ENTRA_SCOPES must hold names"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_each_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsInvalid, match=message):
        read(monkeypatch, **changes)


async def test_ids_may_be_written_in_capitals_and_uris_with_a_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch,
        ENTRA_AUDIENCES="https://gateway.contoso.example/, api://gateway",
        ENTRA_LEGACY_AUDIENCES="https://cognitiveservices.azure.com",
        ENTRA_SCOPES="Chat.Use, user_impersonation",
    )
    async with aiohttp.ClientSession() as session:
        tokens = access_tokens(settings, session, StorageClock())
    assert tokens is not None
    rules = tokens._rules
    assert rules.directory_ids == set(tokens._keys) == {TENANT.lower()}
    assert {CLIENT.lower(), f"api://{CLIENT.lower()}", "api://gateway", "https://gateway.contoso.example",
            "https://gateway.contoso.example/"} <= rules.audiences  # fmt: skip
    assert rules.legacy_audiences == {"https://cognitiveservices.azure.com", "https://cognitiveservices.azure.com/"}
    assert rules.scopes == {"Chat.Use", "user_impersonation"}


async def test_without_a_directory_no_token_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, ENTRA_TENANT_IDS="", ENTRA_CLIENT_ID="")
    async with aiohttp.ClientSession() as session:
        assert access_tokens(settings, session, StorageClock()) is None
