"""Workload identity from end to end: a token of a Kubernetes service account, Entra over TLS, Azurite and a vault."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp.connector
import pytest

from local.emulators.access_tokens import claims_of
from local.emulators.entra import EmulatedEntra
from local.emulators.entra_objects import Application, ServiceAccount
from shared.adapters.identity.credentials import CachedTokens, IdentityUnavailable, federated_identity
from shared.composition.adapters import _credential
from shared.settings import read_settings
from tests.contract.identity.test_identity import _use_identity_for_backends, secure_azurite
from tests.tools.entra import running_entra
from tests.tools.stack import ADMIN_KEY, AzuriteAccount, running_stack
from tests.tools.vaults import running_vault

__all__ = ["secure_azurite"]
STORAGE = "https://storage.azure.com/.default"


@dataclass
class Pod:
    """A pod into which Kubernetes has projected the token of its service account, as a file."""

    entra: EmulatedEntra
    account: ServiceAccount
    identity: Application
    file: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the webhook of workload identity adds."""
        return {
            "AZURE_FEDERATED_TOKEN_FILE": str(self.file), "AZURE_TENANT_ID": self.entra.directory_id,
            "AZURE_CLIENT_ID": self.identity.client_id, "AZURE_AUTHORITY_HOST": f"{self.entra.url}/",
        }  # fmt: skip

    def tokens(self) -> CachedTokens:
        authority = self.environment["AZURE_AUTHORITY_HOST"]
        identity = (self.identity.client_id, self.entra.directory_id, authority, self.file)
        return CachedTokens(lambda _: federated_identity(*identity))


@pytest.fixture
async def pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Pod]:
    """A pod and its identity, on a machine that has no managed identity."""
    async with running_entra(monkeypatch, tmp_path) as entra:
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.delenv(name)
        entra.resource_issuer = "https://sts.windows.net/"
        account = ServiceAccount()
        identity = Application(trusts=(account,))
        entra.applications.append(identity)
        file = tmp_path / "azure-identity-token"
        file.write_text(account.token())
        yield Pod(entra, account, identity, file)


async def test_books_backends_and_the_vault_work_with_the_token_of_a_service_account(
    monkeypatch: pytest.MonkeyPatch, pod: Pod, secure_azurite: tuple[AzuriteAccount, Path], tmp_path: Path
) -> None:
    azurite, authority = secure_azurite
    with Path(os.environ["SSL_CERT_FILE"]).open("ab") as trusted:  # Entra's authority is in it
        trusted.write(authority.read_bytes())
    aiohttp.connector._SSL_CONTEXT_VERIFIED.load_verify_locations(authority)
    async with running_vault() as vault:
        vault.tenant_id = pod.entra.directory_id
        vault.set("tallygate-admin-key", ADMIN_KEY, age_seconds=99_999)
        settings = {
            "TALLYGATE_TABLE_ENDPOINT": azurite.table_endpoint, "TALLYGATE_BLOB_ENDPOINT": azurite.blob_endpoint,
            "AZURE_OPENAI_API_KEY": "", "ADMIN_API_KEY": "", "ADMIN_API_KEY_SECRET_NAME": "tallygate-admin-key",
            "AZURE_KEY_VAULT_URL": vault.url, **pod.environment,
        }  # fmt: skip
        async with running_stack(monkeypatch, tmp_path, settings) as stack:
            await _use_identity_for_backends(stack)
            assert (await stack.chat())[0] == 200
            assert len(await stack.entries()) == 1
            gateway = await stack.gateway()
            reports: Any = gateway.billing.export_chargeback._build._reports
            await reports.write_once("2026-10/manifest.json", b"{}")
            assert await reports.read("2026-10/manifest.json") == b"{}"
        assert vault.requests
    assert set(pod.entra.asked) == {f"/{pod.entra.directory_id}/oauth2/v2.0/token"}


async def test_the_token_is_that_of_the_identity_that_trusts_the_account(pod: Pod) -> None:
    tokens = pod.tokens()
    claims = claims_of(await tokens.token(STORAGE))
    await tokens.close()
    assert (claims["aud"], claims["appid"]) == ("https://storage.azure.com", pod.identity.client_id)
    assert claims["oid"] == pod.identity.object_id


async def test_the_file_is_read_again_for_each_exchange(pod: Pod) -> None:
    tokens = pod.tokens()
    pod.file.write_text(pod.account.token(lifetime_seconds=-1))
    with pytest.raises(IdentityUnavailable):
        await tokens.token(STORAGE)
    pod.file.write_text(pod.account.token() + "\n")  # Kubernetes has renewed it
    assert await tokens.token(STORAGE)
    await tokens.close()


OTHERS = {
    "another account": ServiceAccount(subject="system:serviceaccount:other:gateway"),
    "another cluster": ServiceAccount(issuer="https://oidc.other.example/"),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_no_other_account_gets_the_identity(pod: Pod, name: str) -> None:
    pod.file.write_text(OTHERS[name].token())
    tokens = pod.tokens()
    with pytest.raises(IdentityUnavailable):
        await tokens.token(STORAGE)
    await tokens.close()


@pytest.mark.parametrize("damage", ["missing", "not text", "a folder"])
async def test_a_file_without_a_token_is_an_identity_that_is_unavailable(pod: Pod, damage: str) -> None:
    pod.file.unlink()
    if damage == "not text":
        pod.file.write_bytes(b"\xff\xfe")
    if damage == "a folder":
        pod.file.mkdir()
    tokens = pod.tokens()
    with pytest.raises(IdentityUnavailable):
        await tokens.token(STORAGE)
    await tokens.close()


async def test_without_a_token_requests_end_with_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, pod: Pod, tmp_path: Path
) -> None:
    settings = {"TALLYGATE_STORAGE": "memory", "AZURE_OPENAI_API_KEY": "", **pod.environment}
    pod.file.unlink()
    async with running_stack(monkeypatch, tmp_path, settings) as stack:
        await _use_identity_for_backends(stack)
        status, _, body = await stack.chat()
        assert (status, body["error"]["code"]) == (503, "no_backend_available")
        pod.file.write_text(pod.account.token())
        assert (await stack.chat())[0] == 200


async def test_an_identity_provider_that_is_down_costs_seconds_and_not_minutes(pod: Pod) -> None:
    down = federated_identity(str(uuid.uuid4()), pod.entra.directory_id, "https://127.0.0.1:9", pod.file)
    tokens = CachedTokens(lambda _: down)
    async with asyncio.timeout(60):
        with pytest.raises(IdentityUnavailable):
            await tokens.token(STORAGE)
    await tokens.close()


async def test_the_settings_choose_the_identity(monkeypatch: pytest.MonkeyPatch, pod: Pod) -> None:
    monkeypatch.setenv("TALLYGATE_STORAGE", "memory")
    monkeypatch.setenv("AUDIT_CHAIN_KEY", "0123456789abcdef" * 2)
    chosen = []
    for changes in (
        {},
        {"AZURE_FEDERATED_TOKEN_FILE": ""},
        {"USE_MANAGED_IDENTITY": "false"},
    ):
        for name, value in {**pod.environment, **changes}.items():
            monkeypatch.setenv(name, value)
        credential = _credential(read_settings(), "")
        chosen.append(type(credential).__name__)
        await credential.close()
    assert chosen == ["ClientAssertionCredential", "ManagedIdentityCredential", "DefaultAzureCredential"]
