"""The recipe for Azure Functions Core Tools: the example's values as they are, and a host.json without a bundle."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path
from tempfile import gettempdir

import aiohttp
import pytest

from local.azurite_server import AzuritePorts, azurite_command
from tests.functions.host.test_conformance import PYTHON
from tests.tools.stack import await_port, free_port

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = json.loads((ROOT / "local.settings.json.example").read_text())
DEFAULT_PORTS = AzuritePorts(10000, 10001, 10002)
"""The ports of Azurite, unless it is told others. No other test takes them."""
BUILT_IN = {"route", "timer_trigger"}
"""Decorators whose triggers the host has without an extension bundle.

https://learn.microsoft.com/azure/azure-functions/functions-bindings-register
"""


def test_the_host_needs_no_extension_bundle() -> None:
    assert "extensionBundle" not in json.loads((ROOT / "host.json").read_text())
    tree = ast.parse((ROOT / "function_app.py").read_text())
    decorated = [each for each in ast.walk(tree) if isinstance(each, ast.AsyncFunctionDef | ast.FunctionDef)]
    decorators = [ast.unparse(decorator) for each in decorated for decorator in each.decorator_list]
    assert {text.partition("(")[0] for text in decorators} == {f"app.{name}" for name in BUILT_IN}
    assert len(decorators) == len(decorated)  # no binding beside the trigger


def test_the_example_has_what_core_tools_reads_and_only_texts() -> None:
    assert set(EXAMPLE) == {"IsEncrypted", "Values"}
    assert EXAMPLE["IsEncrypted"] is False
    assert all(isinstance(value, str) for value in EXAMPLE["Values"].values())


@pytest.fixture
def default_azurite(tmp_path: Path) -> Iterator[None]:
    """An Azurite as `azurite` starts it: on its default ports, with its well-known account."""
    with (Path(gettempdir()) / "tallygate-default-azurite.lock").open("w") as lock:
        flock(lock, LOCK_EX)  # another run of the tests on this machine
        if any(_is_taken(port) for port in (10000, 10001, 10002)):
            if os.environ.get("CI"):
                pytest.fail("CI needs the default ports of Azurite, 10000 to 10002.")
            pytest.skip("another Azurite has the default ports")
        environment = {name: text for name, text in os.environ.items() if name != "AZURITE_ACCOUNTS"}
        with (tmp_path / "azurite.log").open("wb") as log:
            process = subprocess.Popen(
                azurite_command(DEFAULT_PORTS, None), env=environment, cwd=tmp_path, stdout=log, stderr=log
            )
        try:
            await_port(DEFAULT_PORTS.table, process)
            await_port(DEFAULT_PORTS.blob, process)
            yield
        finally:
            process.terminate()
            process.wait()


async def test_the_worker_serves_with_exactly_the_values_of_the_example(default_azurite: None, tmp_path: Path) -> None:
    async with _worker(tmp_path / "app") as (url, folder), aiohttp.ClientSession(url) as session:
        kept = json.loads((folder / ".local" / "generated-secrets.json").read_text())
        headers = {"api-key": kept["ADMIN_API_KEY"]}
        async with session.get("/healthz") as answer:
            assert answer.status == 200
        async with session.post("/manage/tenants", json={"tenant_id": "acme"}, headers=headers) as answer:
            assert answer.status == 201, await answer.text()
        async with session.post("/manage/tenants/acme/keys", json={}, headers=headers) as answer:
            key = (await answer.json())["key"]
        async with session.get("/me", headers={"api-key": key}) as answer:
            assert (answer.status, (await answer.json())["tenant_id"]) == (200, "acme")


@asynccontextmanager
async def _worker(folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """Start Microsoft's worker library on a copy of the app, with the example's values and nothing else."""
    if not PYTHON.exists():
        if os.environ.get("CI"):
            pytest.fail("CI needs Python 3.13 for the conformance suite.")
        pytest.skip("no Python 3.13 was found by 'python -m local.setup conformance'")
    for name in ("shared", "local", "tests/tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("function_app.py", "host.json", "tests/__init__.py"):
        shutil.copy(ROOT / name, folder / name)
    port = free_port()
    log = folder / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PYTHON, "-m", "tests.tools.worker_host", str(port)],
            cwd=folder, env={"PATH": os.environ["PATH"], **EXAMPLE["Values"]}, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        await asyncio.to_thread(await_port, port, process)
        yield f"http://127.0.0.1:{port}", folder
    finally:
        process.terminate()
        process.wait()


def _is_taken(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return False
    return True
