"""The official SDKs call with tokens of azure-identity, both unmodified, and the ledger names who it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from azure.identity import (
    ClientSecretCredential,
    DefaultAzureCredential,
    DeviceCodeCredential,
    ManagedIdentityCredential,
)
from azure.identity import get_bearer_token_provider as provider_of
from azure.identity.aio import ClientSecretCredential as AsyncClientSecretCredential
from azure.identity.aio import get_bearer_token_provider as async_provider_of
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI

from local.emulators.entra import EmulatedEntra
from local.emulators.entra_objects import Application
from tests.tools.entra import credential_options, running_entra, settings_of
from tests.tools.stack import API_VERSION, Stack

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
COGNITIVE = "https://cognitiveservices.azure.com"


@pytest.fixture
async def entra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[EmulatedEntra]:
    async with running_entra(monkeypatch, tmp_path) as running:
        yield running


@pytest.fixture
def stack_settings(entra: EmulatedEntra) -> dict[str, str]:
    return {**settings_of(entra), "ENTRA_LEGACY_AUDIENCES": COGNITIVE}


@pytest.fixture(autouse=True)
async def members(stack: Stack, entra: EmulatedEntra) -> None:
    """The tenant names the application, the managed identity and the person."""
    ids = [("application", each.client_id) for each in entra.applications]
    ids += [("person", each.object_id) for each in entra.people]
    named = [{"directory_id": entra.directory_id, "kind": kind, "id": id_, "role": "tenant.use"} for kind, id_ in ids]
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"entra_principals": named})


async def test_the_asynchronous_client_calls_as_an_application(stack: Stack, entra: EmulatedEntra) -> None:
    async with AsyncClientSecretCredential(*entra.secret_of(0), **credential_options(entra)) as credential:
        provider = async_provider_of(credential, entra.scope)
        dated = AsyncAzureOpenAI(
            azure_endpoint=stack.url, azure_ad_token_provider=provider, api_version=API_VERSION, max_retries=0
        )
        async with dated, AsyncOpenAI(base_url=f"{stack.url}/openai/v1", api_key=provider, max_retries=0) as v1:
            for client in (dated, v1):
                answer = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
                assert answer.choices[0].message.content
                stream = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
                assert [chunk async for chunk in stream]
    entries = await stack.entries()
    assert [each["application"] for each in entries] == [entra.applications[0].client_id] * 4
    await no_token_went_upstream(stack)


@pytest.mark.parametrize("kind", ["secret", "managed identity", "device code", "default in Azure", "default by secret"])
async def test_the_synchronous_client_calls_with_each_credential(
    stack: Stack, entra: EmulatedEntra, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = credential_options(entra)
    if kind == "default by secret":  # of the environment
        names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
        for name, text in zip(names, entra.secret_of(0), strict=True):
            monkeypatch.setenv(name, text)
    credentials: dict[str, Callable[[], Any]] = {
        "secret": lambda: ClientSecretCredential(*entra.secret_of(0), **options),
        "managed identity": ManagedIdentityCredential,
        "device code": lambda: DeviceCodeCredential(
            entra.applications[0].client_id, tenant_id=entra.directory_id, prompt_callback=lambda *_: None, **options
        ),
        "default in Azure": DefaultAzureCredential,
        "default by secret": lambda: DefaultAzureCredential(**options),
    }
    credential = credentials[kind]()

    def ask() -> tuple[str | None, str | None]:
        provider = provider_of(credential, entra.scope)
        dated = AzureOpenAI(azure_endpoint=stack.url, azure_ad_token_provider=provider, api_version=API_VERSION)
        with credential, dated, OpenAI(base_url=f"{stack.url}/openai/v1", api_key=provider) as v1:
            one, two = (each.chat.completions.create(model="gpt-4o", messages=MESSAGES) for each in (dated, v1))
            return one.choices[0].message.content, two.choices[0].message.content

    assert all(await asyncio.to_thread(ask))
    application, identity = entra.applications
    client = identity if kind in ("managed identity", "default in Azure") else application
    booked = await stack.entries()
    assert [each["application"] for each in booked] == [client.client_id] * 2
    if kind == "device code":
        assert {each["user"] for each in booked} == {entra.people[0].object_id}


async def test_an_application_that_asks_for_azure_openai_may_call_if_the_operator_allows_it(
    stack: Stack, entra: EmulatedEntra
) -> None:
    async with AsyncClientSecretCredential(*entra.secret_of(0), **credential_options(entra)) as credential:
        provider = async_provider_of(credential, f"{COGNITIVE}/.default")
        async with AsyncAzureOpenAI(
            azure_endpoint=stack.url, azure_ad_token_provider=provider, api_version=API_VERSION
        ) as client:
            assert (await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)).choices
    await no_token_went_upstream(stack)


async def test_the_sdk_raises_its_own_errors_for_tokens(stack: Stack, entra: EmulatedEntra) -> None:
    async def asking(token: str) -> None:
        async with AsyncAzureOpenAI(
            azure_endpoint=stack.url, azure_ad_token=token, api_version=API_VERSION, max_retries=0
        ) as client:
            await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    with pytest.raises(openai.AuthenticationError) as refusal:
        await asking(entra.token_of(entra.applications[0], aud="https://graph.microsoft.com"))
    assert refusal.value.code == "invalid_token"
    with pytest.raises(openai.PermissionDeniedError) as denial:
        await asking(entra.token_of(Application()))  # no tenant names it
    assert denial.value.code == "insufficient_role"


async def no_token_went_upstream(stack: Stack) -> None:
    for record in await stack.requests():
        assert not [text for text in record["headers"].values() if "eyJ" in text]
