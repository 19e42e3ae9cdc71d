"""Callers sign in with azure-identity, unmodified, at the emulated Entra, and call the gateway with its tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from azure.identity import ClientSecretCredential, DeviceCodeCredential, ManagedIdentityCredential
from azure.identity.aio import ClientSecretCredential as AsyncClientSecretCredential
from azure.identity.aio import ManagedIdentityCredential as AsyncManagedIdentityCredential

from local.emulators.entra import EmulatedEntra, Fault
from local.emulators.entra_objects import Application, Person
from tests.tools.entra import credential_options, running_entra, settings_of
from tests.tools.stack import Stack

COGNITIVE = "https://cognitiveservices.azure.com/.default"


@pytest.fixture
async def entra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[EmulatedEntra]:
    """An identity provider that has given the role of an administrator to everybody."""
    async with running_entra(monkeypatch, tmp_path) as running:
        roles = ("Gateway.Admin",)
        running.applications = [Application(roles=roles), Application(roles=roles, resource_id="/subscriptions/s/app")]
        running.people = [Person(roles=roles)]
        yield running


@pytest.fixture
def stack_settings(entra: EmulatedEntra) -> dict[str, str]:
    return {
        **settings_of(entra),
        "ENTRA_TENANT_IDS": f"{entra.directory_id},{entra.partner_id}",
        "ENTRA_LEGACY_AUDIENCES": COGNITIVE.removesuffix("/.default"),
    }


async def status_of(stack: Stack, token: str, path: str = "/manage/tenants") -> int:
    async with stack.session.get(stack.url + path, headers={"Authorization": f"Bearer {token}"}) as response:
        return response.status


@pytest.mark.parametrize("version", ["1.0", "2.0"])
async def test_an_application_signs_in_with_its_secret(stack: Stack, entra: EmulatedEntra, version: str) -> None:
    entra.version = version
    with ClientSecretCredential(*entra.secret_of(0), **credential_options(entra)) as credential:
        token = await asyncio.to_thread(credential.get_token, entra.scope)
    assert await status_of(stack, token.token) == 200
    async with AsyncClientSecretCredential(*entra.secret_of(0), **credential_options(entra)) as other:
        assert await status_of(stack, (await other.get_token(entra.scope)).token) == 200


async def test_a_managed_identity_signs_in(stack: Stack, entra: EmulatedEntra) -> None:
    with ManagedIdentityCredential() as credential:
        token = await asyncio.to_thread(credential.get_token, entra.scope)
    async with AsyncManagedIdentityCredential() as other:
        for each in (token, await other.get_token(entra.scope)):
            assert await status_of(stack, each.token) == 200


async def test_a_person_signs_in_at_another_device(stack: Stack, entra: EmulatedEntra) -> None:
    client_id = entra.applications[0].client_id
    credential = DeviceCodeCredential(
        client_id, tenant_id=entra.directory_id, prompt_callback=lambda *_: None, **credential_options(entra)
    )
    with credential:
        token = await asyncio.to_thread(credential.get_token, entra.scope)
    assert await status_of(stack, token.token) == 200


async def test_a_person_signs_in_with_a_password(stack: Stack, entra: EmulatedEntra) -> None:
    person, url = entra.people[0], f"{entra.url}/{entra.directory_id}/oauth2/v2.0/token"
    form = {
        "grant_type": "password", "client_id": entra.applications[0].client_id, "scope": entra.scope,
        "username": person.name, "password": person.password,
    }  # fmt: skip
    async with stack.session.post(url, data=form) as response:
        token = (await response.json())["access_token"]
    assert await status_of(stack, token) == 200
    for wrong in ({"password": "x"}, {"client_id": "x"}, {"grant_type": "x"}):
        async with stack.session.post(url, data={**form, **wrong}) as response:
            assert response.status == 400


async def test_a_token_for_azure_openai_administers_nothing(stack: Stack, entra: EmulatedEntra) -> None:
    client = entra.applications[0]
    async with AsyncClientSecretCredential(*entra.secret_of(0), **credential_options(entra)) as credential:
        token = (await credential.get_token(COGNITIVE)).token
    assert await status_of(stack, token) == 403
    forged = {**entra.claims_of(client, audience=COGNITIVE.removesuffix("/.default")), "roles": ["Gateway.Admin"]}
    assert await status_of(stack, entra.signed(forged)) == 403


async def test_the_administrators_of_a_partner_cannot_make_themselves_ours(stack: Stack, entra: EmulatedEntra) -> None:
    for caller in (entra.applications[0], entra.people[0]):
        assert await status_of(stack, entra.token_of(caller)) == 200
        assert await status_of(stack, entra.partner_token_of(caller)) == 403


async def test_while_entra_is_down_callers_are_told_to_wait(stack: Stack, entra: EmulatedEntra) -> None:
    entra.fault = Fault(status=503, body=b"")
    token = entra.token_of(entra.applications[0])
    async with stack.session.get(f"{stack.url}/me", headers={"Authorization": f"Bearer {token}"}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (503, "identity_unavailable")
        assert response.headers["Retry-After"] == "10"
    assert (await stack.chat())[0] == 200
