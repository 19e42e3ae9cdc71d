"""Client libraries work unchanged, each in a process of its own, against a gateway and a simulator."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from local.setup.needs import CLIENTS
from local.setup.node_packages import NODE_CLIENTS, find_node
from tests.tools.entra import running_entra, settings_of
from tests.tools.sounds import wav
from tests.tools.stack import API_VERSION, MODELS, Stack, running_stack

HERE = Path(__file__).parent
PYTHON = CLIENTS.python


def needs(path: Path) -> None:
    if path.exists():
        return
    if os.environ.get("CI"):
        pytest.fail("CI needs the clients; run 'python -m local.setup clients'.")
    pytest.skip("the clients are not installed: 'python -m local.setup clients'")


async def run(stack: Stack, *command: str, **settings: str) -> dict[str, Any]:
    """Run a client. Returns the answers that it printed."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_"))},
        "GATEWAY_URL": stack.url,
        "GATEWAY_KEY": stack.key,
        "API_VERSION": API_VERSION,
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-3000:]
    got: dict[str, Any] = json.loads(output.splitlines()[-1])
    return got


async def check_books(stack: Stack) -> None:
    """Require that every request of the client is booked as the simulator served it."""
    await stack.settled()
    await (await stack.gateway()).inference.settle_background()
    asked = [record for record in await stack.requests() if record["body"]]
    booked = sorted(
        (
            entry["tokens"],
            entry["usage"]["images"],
            entry["usage"]["speech_characters"],
            entry["usage"]["audio_seconds"],
        )
        for entry in await stack.entries()
    )
    assert booked == sorted(_billed(record["usage"]) for record in asked)


def _billed(usage: dict[str, Any]) -> tuple[int, int, int, int]:
    return (
        usage.get("total_tokens", 0),
        usage.get("images", 0),
        usage.get("characters", 0),
        usage.get("seconds", 0),
    )


@pytest.mark.parametrize("client", ["langchain", "litellm", "llama_index"])
async def test_a_library_works_unchanged(stack: Stack, client: str) -> None:
    needs(PYTHON)
    got = await run(stack, str(PYTHON), str(HERE / f"{client}_client.py"))
    assert got["text"] == got["streamed"]
    assert got["text"]
    assert got["tokens"] > 0
    assert got["dimensions"] == [8, 8]
    assert got.get("tool", "answer") == "answer"
    await check_books(stack)


@pytest.mark.parametrize("family", ["dated", "v1"])
async def test_the_node_sdk_works_unchanged(stack: Stack, family: str, tmp_path: Path) -> None:
    await check_node(stack, tmp_path, FAMILY=family)


@pytest.mark.parametrize("family", ["dated", "v1"])
async def test_the_node_sdk_signs_in_with_entra(monkeypatch: pytest.MonkeyPatch, family: str, tmp_path: Path) -> None:
    async with running_entra(monkeypatch, tmp_path) as entra:
        application = entra.applications[0]
        settings = {"TALLYGATE_STORAGE": "memory", **settings_of(entra)}
        async with running_stack(monkeypatch, tmp_path, settings) as stack:
            named = {"directory_id": entra.directory_id, "kind": "application", "id": application.client_id}
            principals = [{**named, "role": "tenant.use"}]
            await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"entra_principals": principals})
            # The SDK refuses a token beside this key, which belongs to the gateway of this process.
            own = {"FAMILY": family, "AZURE_OPENAI_API_KEY": ""}
            await check_node(stack, tmp_path, GATEWAY_TOKEN=entra.token_of(application), **own)


async def check_node(stack: Stack, folder: Path, **settings: str) -> None:
    """Let the Node SDK call every operation."""
    needs(NODE_CLIENTS.modules)
    node = find_node()
    assert node is not None
    (folder / "hello.wav").write_bytes(wav(1))
    settings |= {"CLIENTS": str(NODE_CLIENTS.folder), "SOUND": str(folder / "hello.wav")}
    got = await run(stack, node[0], str(HERE / "node" / "client.mjs"), **settings)
    assert got["text"] == got["streamed"]
    assert got["response"] == got["responseStreamed"] == got["retrieved"]
    assert (got["dimensions"], got["images"], got["items"], got["models"]) == ([8, 8], 1, 1, len(MODELS))
    assert (got["deleted"], got["cancelled"]) == (404, "cancelled")
    assert all(got[name] for name in ("completion", "transcript", "translation", "spoken"))
    await check_books(stack)
