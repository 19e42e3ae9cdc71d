"""A month that real gateways served over HTTP and finished by their timers, in an Azurite that a test tampers with."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient
from openai import AsyncAzureOpenAI

from local.azurite_server import ACCOUNT
from shared import timers
from shared.domain.identifiers import BillingPeriod
from tests.tools.finished_month import write_key
from tests.tools.later_hosts import later_hosts
from tests.tools.stack import (
    ADMIN_KEY,
    API_VERSION,
    CHAIN_KEY,
    AzuriteAccount,
    Stack,
    bare_stack,
    configure,
    running_azurite,
)

PERIOD = str(BillingPeriod.containing(datetime.now(UTC)))


@dataclass(frozen=True, slots=True)
class RealMonth:
    """The account, the files of the keys, and the commands of operator and auditor."""

    account: AzuriteAccount
    folder: Path
    public_key: Path
    settings: dict[str, str]

    def run(self, *arguments: str, is_operator: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `tallygate` as a process. An auditor has no settings."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_"))}
        environment = own | (self.settings if is_operator else {})
        command = [sys.executable, "-m", "shared.cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def blobs(self, container: str) -> Any:
        """Return the client of a container."""
        credential = {"account_name": ACCOUNT, "account_key": self.account.key}
        return BlobServiceClient(self.account.blob_endpoint, credential=credential).get_container_client(container)


@contextmanager
def real_month(folder: Path) -> Iterator[RealMonth]:
    """Serve a month and finish it."""
    signing, public = write_key(folder)
    with running_azurite(folder) as account:
        settings = {
            **account.settings,
            "AUDIT_CHAIN_KEY": CHAIN_KEY,
            "ADMIN_API_KEY": ADMIN_KEY,
            "AUDIT_SIGNING_KEY_FILE": str(signing),
            "AUDIT_ANCHOR_ORIGIN": "tallygate/real",
        }
        month = RealMonth(account=account, folder=folder, public_key=public, settings=settings)
        asyncio.run(_write(month))
        yield month


async def _write(month: RealMonth) -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with _serving(patch, month) as stack:
            for tenant in ("acme", "bolt"):
                key = await stack.register(tenant, name=tenant.title(), monthly_quota_tokens=100_000)
                client = AsyncAzureOpenAI(azure_endpoint=stack.url, api_key=key, api_version=API_VERSION, max_retries=0)
                async with client:
                    for number in range(3):
                        message: Any = {"role": "user", "content": f"Hello {number}"}
                        await client.chat.completions.create(model="gpt-4o", messages=[message])
            await stack.manage(
                "POST", "/manage/tenants/acme/grants", {"tokens": 5, "reason": "a gift", "grant_id": "g"}
            )
            await stack.manage("PATCH", "/manage/tenants/acme", {"monthly_quota_tokens": 90_000})
            await stack.settled()
            for timer in (timers.roll_up_usage, timers.chain_audit, timers.anchor_audit):
                await timer(past_due=False)
    await _finish(month)


@asynccontextmanager
async def _serving(patch: pytest.MonkeyPatch, month: RealMonth) -> AsyncIterator[Stack]:
    async with bare_stack(patch, month.folder, month.settings) as stack:
        await configure(stack)
        yield stack


async def _finish(month: RealMonth) -> None:
    """Let a gateway of the next month close this one, write its statements, and anchor all of it."""
    ahead = BillingPeriod.parse(PERIOD).end + timedelta(days=3) - datetime.now(UTC)
    signing: Any = {name: text for name, text in month.settings.items() if name.startswith("AUDIT_")}
    async with later_hosts(month.account, month.folder, 1, ahead_seconds=ahead.total_seconds(), **signing) as (host,):
        # Each runs twice: the end of a run that the host began by itself may be taken for the end of ours.
        for timer in ("export_chargeback", "chain_audit", "anchor_audit"):
            for _ in range(2):
                await host.run_timer(timer)
