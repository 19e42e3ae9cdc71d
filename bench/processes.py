"""Start what is measured, wait until it listens, end it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.load import Target
from local.azurite_server import ACCOUNT, AzuritePorts, new_account_key, start_azurite

ROOT = Path(__file__).resolve().parents[1]
_PATH = "/openai/deployments/gpt-4o/chat/completions"
_QUERY = "?api-version=2024-10-21"


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that runs during a bench."""

    direct: Target
    proxy: Target
    in_memory: Target
    with_azurite: Target
    table_endpoint: str
    account_key: str


@contextmanager
def running() -> Iterator[Bench]:
    """All processes of a bench."""
    with ExitStack() as stack:
        upstream_port, proxy_port = free_port(), free_port()
        upstream = stack.enter_context(fast_upstream(upstream_port))
        upstream_url = f"http://127.0.0.1:{upstream_port}"
        proxy_command = [sys.executable, "-m", "bench.bare_proxy", str(proxy_port), upstream_url]
        proxy = stack.enter_context(process(proxy_command, proxy_port))
        endpoint, account_key = stack.enter_context(storage())
        tables = tables_settings(endpoint, account_key)
        in_memory = stack.enter_context(gateway("in memory", {"TALLYGATE_STORAGE": "memory"}, upstream_url))
        with_azurite = stack.enter_context(gateway("Azurite", tables, upstream_url))
        yield Bench(
            Target("direct", upstream_url + _PATH, upstream.pid),
            Target("bare proxy", f"http://127.0.0.1:{proxy_port}{_PATH}", proxy.pid),
            in_memory,
            with_azurite,
            endpoint,
            account_key,
        )


def fast_upstream(port: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """The upstream that every target of a run has in common."""
    return process([sys.executable, "-m", "bench.upstream", str(port)], port)


@contextmanager
def storage() -> Iterator[tuple[str, str]]:
    """An Azurite in memory: its table endpoint and account key."""
    with tempfile.TemporaryDirectory() as folder:
        blob, queue, table = (free_port() for _ in range(3))
        account_key = new_account_key()
        azurite = start_azurite(AzuritePorts(blob, queue, table), account_key, None, Path(folder) / "azurite.log")
        try:
            _await_port(table, azurite)
            yield f"http://127.0.0.1:{table}/{ACCOUNT}", account_key
        finally:
            _end(azurite)


def tables_settings(endpoint: str, account_key: str) -> dict[str, str]:
    """Settings of a gateway that keeps its books in this Azurite."""
    return {
        "TALLYGATE_TABLE_ENDPOINT": endpoint,
        "TALLYGATE_BLOB_ENDPOINT": endpoint,  # required, and not used: a bench writes no statements
        "TALLYGATE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "TALLYGATE_STORAGE_ACCOUNT_KEY": account_key,
    }


@contextmanager
def gateway(
    name: str,
    settings: dict[str, str],
    upstream_url: str,
    *,
    known_tenant: Target | None = None,
    python: str = sys.executable,
    checkout: Path = ROOT,
) -> Iterator[Target]:
    """A gateway with one tenant that may use everything, in front of the upstream; or over storage that has one.

    Another checkout is reached by its functions host, its settings and its management API only: its modules may be
    named otherwise.
    """
    port, admin_key = free_port(), secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **settings,
            "TALLYGATE_PORT": str(port),
            "TALLYGATE_DATA": folder,
            "AUDIT_CHAIN_KEY": secrets.token_urlsafe(32),
            "ADMIN_API_KEY": admin_key,
            "AZURE_OPENAI_API_KEY": "bench",
            "ALLOW_LOOPBACK_BACKENDS": "true",
        }
        command = [python, "-m", "local.functions_host"]
        with process(command, port, environment, folder=checkout) as started:
            url = f"http://127.0.0.1:{port}"
            key = known_tenant.key if known_tenant else _seed(url, admin_key, upstream_url)
            yield Target(f"gateway, {name}", f"{url}{_PATH}{_QUERY}", started.pid, key, admin_key)


@contextmanager
def process(
    command: list[str], port: int, environment: dict[str, str] | None = None, *, folder: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that listens on a port."""
    child = subprocess.Popen(command, env={**os.environ, **(environment or {})}, cwd=folder)
    try:
        _await_port(port, child)
        yield child
    finally:
        _end(child)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        chosen: int = probe.getsockname()[1]
        return chosen


def _seed(url: str, admin_key: str, upstream_url: str) -> str:
    backend = {"endpoint": upstream_url, "upstream_deployment": "gpt-4o", "model": "gpt-4o", "region": "swedencentral"}
    manage(url, admin_key, "PUT", "/manage/backends/bench", {**backend, "auth": "api_key"})
    manage(url, admin_key, "PUT", "/manage/deployments/gpt-4o", {"backends": ["bench"]})
    for meter, price in (("input", "2.5"), ("output", "10")):
        row = {"model": "gpt-4o", "meter": meter, "usd_per_million": price, "effective_from": "2024-01-01T00:00:00Z"}
        manage(url, admin_key, "POST", "/manage/prices", row)
    return _register(url, admin_key)


def with_new_tenant(target: Target) -> Target:
    """The same gateway for a tenant without entries: the emulator's own time grows with the partition."""
    if not target.admin_key:
        return target
    return replace(target, key=_register(target.url.partition("/openai")[0], target.admin_key))


def _register(url: str, admin_key: str) -> str:
    tenant_id = f"bench-{secrets.token_hex(4)}"
    tenant = {"tenant_id": tenant_id, "deployments": ["gpt-4o"], "monthly_quota_tokens": 10**12}
    manage(url, admin_key, "POST", "/manage/tenants", tenant)
    return str(manage(url, admin_key, "POST", f"/manage/tenants/{tenant_id}/keys", {})["key"])


def manage(url: str, admin_key: str, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Call the management API; the answer's JSON."""
    headers = {"api-key": admin_key, "content-type": "application/json"}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def _await_port(port: int, child: subprocess.Popen[bytes]) -> None:
    while child.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"{child.args!r} ended with {child.returncode}")


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    child.wait()
