"""Two runs over one data folder, and the rights of what a run writes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.test_local_run import ROOT, Api, Run, verify
from tests.tools.stack import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path / "data")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()


def refused(data: Path) -> str:
    """Start a second run, on ports of its own, which must be refused. Returns what it says."""
    environment = {**os.environ, "TALLYGATE_DATA": str(data), "TALLYGATE_PORT": str(free_port())}
    command = [sys.executable, "-m", "local.run"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    return ended.stderr


def readable_by_others(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o077]


async def chats(document: dict[str, Any]) -> int:
    """Chat once. Returns the number of entries after that."""
    async with aiohttp.ClientSession() as session:
        api = Api(session, document)
        assert (await api.chat(document["url"], document["tenant_key"], "Hello!"))[0] == 200
        return len(await api.entries("demo"))


async def test_a_second_run_over_the_same_folder_is_refused_and_the_first_goes_on(run: Run, tmp_path: Path) -> None:
    document = run.start()
    assert await chats(document) == 1
    (tmp_path / "link").symlink_to(run.data)
    for folder in (run.data, tmp_path / "link"):
        told = refused(folder)
        assert f"is used by another run (process {document['pids']['run']})" in told
        assert "TALLYGATE_DATA" in told
        assert json.loads((run.data / "run.json").read_text()) == document
    assert await chats(document) == 2
    assert readable_by_others(run.data) == []
    assert verify(document, f"{await period(document)}").returncode == 0


async def period(document: dict[str, Any]) -> str:
    async with aiohttp.ClientSession() as session:
        return str((await Api(session, document).manage("GET", "/manage/tenants/demo/usage"))["period"])


async def test_what_a_killed_run_leaves_is_named_and_keeps_the_folder(run: Run) -> None:
    document = run.start()
    assert await chats(document) == 1
    os.kill(document["pids"]["run"], signal.SIGKILL)
    assert run.process is not None
    run.process.communicate()
    left = {name: pid for name, pid in document["pids"].items() if name != "run"}
    told = refused(run.data)
    assert [name for name, pid in left.items() if f"{name} {pid}" not in told] == []
    for pid in left.values():
        os.kill(pid, signal.SIGTERM)
    for pid in left.values():
        await ended(pid)
    (run.data / "secrets.json").chmod(0o644)  # as another version may have left it
    (run.data / "run.json").unlink()  # for this test, which waits for a new one
    document = run.start()
    assert await chats(document) == 2
    assert readable_by_others(run.data) == []


async def ended(pid: int) -> None:
    """Return when a process that is not a child has ended."""
    async with asyncio.timeout(60):
        while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
