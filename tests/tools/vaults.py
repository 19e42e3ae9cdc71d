"""A key vault over TLS and a managed identity that may read it, for the official libraries as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from local.emulators.key_vault import EmulatedVault
from local.emulators.key_vault_keys import EmulatedKeys
from local.emulators.managed_identity import APP_SERVICE_PATH, EmulatedIdentity
from tests.tools.stack import free_port
from tests.tools.tls import server_context, serving

HEADER = "fake-identity-header"


@asynccontextmanager
async def running_identity(monkeypatch: pytest.MonkeyPatch, *, tls: bool = False) -> AsyncIterator[EmulatedIdentity]:
    """Run the endpoint of App Service, and name it in the environment."""
    identity, port = EmulatedIdentity(HEADER), free_port()
    async with serving(identity.application(), port, server_context() if tls else None):
        scheme = "https" if tls else "http"
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{scheme}://127.0.0.1:{port}{APP_SERVICE_PATH}")
        monkeypatch.setenv("IDENTITY_HEADER", HEADER)
        yield identity


@asynccontextmanager
async def running_vault(port: int = 0) -> AsyncIterator[EmulatedVault]:
    """Run a vault on a port; by default on any free one."""
    async with running_vault_with_keys(port) as (vault, _):
        yield vault


@asynccontextmanager
async def running_vault_with_keys(port: int = 0) -> AsyncIterator[tuple[EmulatedVault, EmulatedKeys]]:
    """Run a vault, and yield its keys, too."""
    port = port or free_port()
    vault = EmulatedVault(f"https://127.0.0.1:{port}")
    keys = EmulatedKeys(vault)
    async with serving(vault.application(), port, server_context()):
        yield vault, keys
