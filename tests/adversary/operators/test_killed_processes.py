"""Processes are killed at any moment, or begin all at once: what they leave in storage is right."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.adapters.clock import StorageClock
from shared.adapters.documents.jobs import DocumentCursors
from shared.adapters.documents.routing import DocumentCatalog
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.on_disk.anchored_heads import DiskHeads
from shared.adapters.on_disk.signer import KeyFileSigner
from shared.adapters.tables.documents import TableDocuments
from shared.application.audit.anchor_heads import AnchorHeads
from shared.application.audit.anchor_log import AnchorLog
from shared.application.audit.verify_anchor_log import VerifyAnchorLog
from shared.generated_secrets import generate_key_file
from tests.contract.storage.conftest import table_service
from tests.tools.anchor_logs import ORIGIN
from tests.tools.anchoring_process import OneChain, blob_anchors
from tests.tools.events import waiting
from tests.tools.stack import CHAIN_KEY, AzuriteAccount, running_azurite

ROOT = Path(__file__).resolve().parents[3]
ROUNDS = 4


@pytest.fixture
def own_azurite(tmp_path: Path) -> Iterator[AzuriteAccount]:
    with running_azurite(tmp_path) as account:
        yield account


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python in a process of its own, which is killed at the end."""
    command = [sys.executable, *arguments]
    started = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def test_two_anchoring_processes_that_are_killed_leave_a_log_that_verifies_and_goes_on(
    own_azurite: AzuriteAccount, tmp_path: Path
) -> None:
    key, chance = tmp_path / "key.pem", random.Random(15)
    generate_key_file(key)
    endpoints = own_azurite.table_endpoint, own_azurite.blob_endpoint, own_azurite.key
    command = ("-m", "tests.tools.anchoring_process", *endpoints, str(key), "anchors")
    for _ in range(ROUNDS):
        with process(*command) as first, process(*command) as second:
            for each in (first, second):
                assert each.stdout is not None
                for _ in range(chance.randrange(1, 4)):  # the kill comes in the middle of what follows
                    assert each.stdout.readline() != ""
                each.kill()
    size, found = asyncio.run(anchored(own_azurite, key))
    assert found == []
    assert size > 2 * ROUNDS


async def anchored(account: AzuriteAccount, key: Path) -> tuple[int, list[str]]:
    """Anchor once more, and verify the whole log. Returns its size, and what is wrong."""
    store, signer = blob_anchors(account.blob_endpoint, account.key, "anchors"), KeyFileSigner(key)
    async with table_service(account.table_endpoint, account.key) as service:
        memory = DocumentCursors(TableDocuments(service))
        size = (await AnchorHeads(AnchorLog(store, signer, memory, StorageClock(), ORIGIN, 60), [OneChain()])()).size
        # A process that remembers nothing reads the whole log, and finds the same.
        anew = AnchorLog(store, signer, DocumentCursors(InMemoryDocuments()), StorageClock(), ORIGIN, 60)
        assert (await anew.resume()).log.size == size
    heads = DiskHeads()
    report = await VerifyAnchorLog(store)(await signer.public_keys(), heads, lambda _done, _of: None, origin=ORIGIN)
    await store.aclose()
    assert report.leaves == size
    return size, [each.message for each in report.findings]


FIRST_BACKEND = {
    "AZURE_OPENAI_ENDPOINT": "https://first.openai.azure.com",
    "AZURE_OPENAI_DEPLOYMENT": "gpt-4o",
    "AZURE_OPENAI_MODEL": "gpt-4o",
    "AZURE_OPENAI_REGION": "swedencentral",
    "AZURE_OPENAI_SKU": "Standard",
    "AZURE_OPENAI_API_VERSION": "2024-10-21",
    "USE_MANAGED_IDENTITY": "true",
}
START = """
import asyncio, sys
from shared.composition.gateway import build
from shared.settings import read_settings
async def start():
    settings = read_settings()
    print("ready", flush=True)
    sys.stdin.readline()
    gateway = await build(settings)
    await gateway.aclose()
asyncio.run(start())
print("done", flush=True)
"""


def test_five_processes_that_start_at_once_create_the_first_backend_once(own_azurite: AzuriteAccount) -> None:
    settings = {"AUDIT_CHAIN_KEY": CHAIN_KEY, "TALLYGATE_STORAGE": "tables", **own_azurite.settings, **FIRST_BACKEND}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", START],
            cwd=ROOT,
            env={**os.environ, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    try:
        for each in started:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in started:
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        answers = [each.communicate()[0] for each in started]
    finally:
        for each in started:
            each.kill()
            each.wait()
    assert answers == ["done\n"] * 5
    assert asyncio.run(first_backends(own_azurite)) == (["gpt-4o"], ["gpt-4o"], ["backend.put", "deployment.put"])


async def first_backends(account: AzuriteAccount) -> tuple[list[str], list[str], list[str]]:
    async with table_service(account.table_endpoint, account.key) as service:
        documents = TableDocuments(service)
        catalog = await DocumentCatalog(documents).load()
        events = [each["action"] for each in await waiting(documents)]
    created = sorted(each for each in events if each.startswith(("backend.", "deployment.")))
    return [*catalog.backends], [*catalog.deployments], created
