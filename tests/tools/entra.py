"""Run the emulated Entra ID over TLS, trusted by this process."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp.connector
import pytest
import trustme
from aiohttp import web

from local.emulators.entra import EmulatedEntra
from local.emulators.entra_objects import Application, Person
from tests.tools.stack import free_port

_authority = cache(trustme.CA)


@asynccontextmanager
async def running_entra(
    monkeypatch: pytest.MonkeyPatch, folder: Path, issuer: trustme.CA | None = None
) -> AsyncIterator[EmulatedEntra]:
    """Run an identity provider with an application, a managed identity and a person.

    The gateway, and azure-identity in this process, trust its certificate, unless `issuer` has issued it.
    """
    trust(monkeypatch, _authority(), folder)
    context = trusted_context(issuer)
    port = free_port()
    entra = EmulatedEntra(
        f"https://127.0.0.1:{port}",
        applications=[Application(), Application(resource_id="/subscriptions/s/providers/Microsoft.Web/sites/app")],
        people=[Person()],
    )
    runner = web.AppRunner(entra.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{entra.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", entra.identity_header)
    try:
        yield entra
    finally:
        await runner.cleanup()


def trusted_context(issuer: trustme.CA | None = None) -> ssl.SSLContext:
    """Return the context of a server on this machine. Its certificate is trusted, unless `issuer` has issued it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (issuer or _authority()).issue_cert("127.0.0.1").configure_cert(context)
    return context


def trust(monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, folder: Path) -> None:
    """Make the HTTP clients of this process trust an authority for certificates: aiohttp, requests and httpx."""
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    aiohttp.connector._SSL_CONTEXT_VERIFIED.load_verify_locations(file)  # aiohttp read the variable when imported


def credential_options(entra: EmulatedEntra) -> dict[str, Any]:
    """Return the options by which azure-identity asks another identity provider than that of the public cloud."""
    return {"authority": entra.url, "disable_instance_discovery": True}


def settings_of(entra: EmulatedEntra) -> dict[str, str]:
    """Return the settings of a gateway that accepts tokens of an identity provider."""
    return {
        "ENTRA_AUTHORITY": entra.url,
        "ENTRA_TENANT_IDS": entra.directory_id,
        "ENTRA_CLIENT_ID": entra.gateway_id,
    }
