"""Managed identity from end to end: an emulated App Service endpoint, and Azurite with OAuth over TLS."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp.connector
import pytest
import trustme
from aiohttp import web
from azure.core.credentials import AccessToken
from pydantic import SecretStr

from shared.adapters.identity.credentials import CachedTokens, IdentityUnavailable, developer_identity, managed_identity
from shared.composition.gateway import build
from shared.domain.errors import LedgerUnavailable
from shared.settings import Settings
from tests.tools.ledgers import account, reservation
from tests.tools.stack import CHAIN_KEY, MODELS, AzuriteAccount, Stack, free_port, running_azurite, running_stack

HEADER = "fake-identity-header"


@dataclass
class IdentityEndpoint:
    """App Service's identity protocol, 2019-08-01. https://learn.microsoft.com/azure/app-service/overview-managed-identity"""

    url: str
    asked: list[dict[str, str]] = field(default_factory=list)
    fails: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        if self.fails or request.headers.get("X-IDENTITY-HEADER") != HEADER:
            return web.json_response({"statusCode": 400, "message": "no"}, status=400)
        resource = request.query["resource"]
        return web.json_response(
            {
                "access_token": token_for(resource),
                "expires_on": str(int(time.time()) + 3600),
                "resource": resource,
                "token_type": "Bearer",
            }
        )


def token_for(audience: str) -> str:
    """Return an unsigned token. The emulators read its claims and do not check its signature."""
    now = int(time.time())
    claims = {"aud": audience, "iss": "https://sts.windows.net/fake/", "nbf": now - 60, "iat": now, "exp": now + 3600}
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "none"}, claims)
    )
    return f"{head.decode()}.{body.decode()}.c2ln"


@pytest.fixture
async def identity(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IdentityEndpoint]:
    endpoint = IdentityEndpoint(f"http://127.0.0.1:{free_port()}")
    app = web.Application()
    app.router.add_get("/msi/token", endpoint.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(endpoint.url.rpartition(":")[2])).start()
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{endpoint.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", HEADER)
    yield endpoint
    await runner.cleanup()


@pytest.fixture(scope="module")
def secure_azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AzuriteAccount, Path]]:
    """Run Azurite with OAuth over TLS. Yields the file of the authority that signed its certificate, too."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "cert.pem", append=True)
    options = ("--oauth", "basic", "--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem"))
    with running_azurite(folder, *options, scheme="https") as running:
        yield running, folder / "ca.pem"


async def test_the_ledger_and_documents_work_with_managed_identity_over_tls(
    monkeypatch: pytest.MonkeyPatch,
    identity: IdentityEndpoint,
    secure_azurite: tuple[AzuriteAccount, Path],
    tmp_path: Path,
) -> None:
    azurite, authority = secure_azurite
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    # aiohttp read that variable when it was imported
    aiohttp.connector._SSL_CONTEXT_VERIFIED.load_verify_locations(authority)
    settings = {
        "TALLYGATE_TABLE_ENDPOINT": azurite.table_endpoint,
        "TALLYGATE_BLOB_ENDPOINT": azurite.blob_endpoint,
        "AZURE_CLIENT_ID": "11111111-1111-1111-1111-111111111111",
        "AZURE_OPENAI_API_KEY": "",
    }
    async with running_stack(monkeypatch, tmp_path, settings) as stack:
        await _use_identity_for_backends(stack)
        assert (await stack.chat())[0] == 200
        assert len(await stack.entries()) == 1
        gateway = await stack.gateway()
        reports: Any = gateway.billing.export_chargeback._build._reports
        await reports.write_once("2026-10/manifest.json", b"{}")
        assert await reports.read("2026-10/manifest.json") == b"{}"
        async with stack.session.get(f"{stack.url}/readyz") as response:
            assert (await response.json())["checks"]["identity"] == "ok"
        (record,) = await stack.requests()
        assert "api-key" not in record["headers"]
    resources = {asked["resource"] for asked in identity.asked}
    assert resources == {"https://storage.azure.com", "https://cognitiveservices.azure.com"}
    assert {asked["client_id"] for asked in identity.asked} == {"11111111-1111-1111-1111-111111111111"}


async def test_without_an_identity_backends_that_need_one_are_unavailable(
    stack: Stack, identity: IdentityEndpoint
) -> None:
    identity.fails = True
    await _use_identity_for_backends(stack)
    status, _, body = await stack.chat()
    (entry,) = await stack.entries()
    assert (status, body["error"]["code"], entry["kind"]) == (503, "no_backend_available", "void")
    async with stack.session.get(f"{stack.url}/readyz") as response:
        assert (await response.json())["checks"]["backends"] == "failed"


class Credential:
    """Hands out numbered tokens."""

    def __init__(self, lifetime: int) -> None:
        self.lifetime = lifetime
        self.given = 0
        self.closed = False

    async def get_token(self, *_: str, **__: object) -> AccessToken:
        self.given += 1
        number = self.given
        await asyncio.sleep(0)
        return AccessToken(f"t{number}", int(time.time()) + self.lifetime)

    async def close(self) -> None:
        self.closed = True


async def test_callers_that_wait_share_one_request_for_a_token() -> None:
    credential = Credential(3600)
    tokens = CachedTokens(lambda _: credential)  # type: ignore[arg-type,return-value]
    assert set(await asyncio.gather(*(tokens.token("s") for _ in range(9)))) == {"t1"}
    assert await tokens.token("s") == "t1"
    assert await tokens.token("other") == "t2"
    await tokens.close()
    assert credential.closed


async def test_clouds_of_their_own_have_credentials_of_their_own() -> None:
    made: dict[str, Credential] = {}

    def make(authority: str) -> Credential:
        made[authority] = Credential(3600)
        return made[authority]

    tokens = CachedTokens(make)  # type: ignore[arg-type]
    for authority in ("", "https://login.microsoftonline.us", ""):
        assert await tokens.token("s", authority) == "t1"
    assert set(made) == {"", "https://login.microsoftonline.us"}
    await tokens.close()
    assert all(credential.closed for credential in made.values())


async def test_a_token_that_expires_soon_is_used_while_the_next_is_fetched() -> None:
    credential = Credential(200)
    tokens = CachedTokens(lambda _: credential)  # type: ignore[arg-type,return-value]
    assert await tokens.token("s") == "t1"
    assert await tokens.token("s") == "t1"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await tokens.token("s") == "t2"


async def test_callers_wait_for_a_new_token_once_the_old_one_has_expired() -> None:
    credential = Credential(-1)
    tokens = CachedTokens(lambda _: credential)  # type: ignore[arg-type,return-value]
    assert [await tokens.token("s"), await tokens.token("s")] == ["t1", "t2"]


async def test_a_missing_identity_raises_an_error_that_says_so(identity: IdentityEndpoint) -> None:
    identity.fails = True
    tokens = CachedTokens(lambda authority: managed_identity("", authority))
    with pytest.raises(IdentityUnavailable):
        await tokens.token("https://storage.azure.com/.default")
    await tokens.close()
    await CachedTokens(lambda authority: managed_identity("", authority)).close()


async def test_developers_sign_in_with_the_default_chain() -> None:
    for authority in ("", "https://login.microsoftonline.us"):
        credential = developer_identity("", authority)
        assert type(credential).__name__ == "DefaultAzureCredential"
        await credential.close()
    settings = Settings(
        tallygate_table_endpoint="https://127.0.0.1:1/x",
        tallygate_blob_endpoint="https://127.0.0.1:1/x",
        audit_chain_key=SecretStr(CHAIN_KEY),
        use_managed_identity=False,
    )
    gateway = await build(settings)
    held = reservation()
    with pytest.raises(LedgerUnavailable):
        await gateway.ledger.books.reserve(account(), held)
    await gateway.resources.aclose()


async def _use_identity_for_backends(stack: Stack) -> None:
    definition = {
        "endpoint": f"{stack.simulator_url}/swedencentral",
        "upstream_deployment": "gpt-4o",
        "model": "gpt-4o",
    }
    backend = {**definition, "region": "swedencentral", "auth": "managed_identity"}
    for model in MODELS:
        await stack.manage("PUT", f"/manage/backends/se-{model}", backend)
