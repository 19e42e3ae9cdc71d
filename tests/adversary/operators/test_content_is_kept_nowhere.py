"""Whatever callers and backends send, and whatever fails: no content is in storage, in a log or in a report."""

from __future__ import annotations

import base64
import gc
import gzip
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobServiceClient

from local.azurite_server import ACCOUNT
from local.emulators.ingestion import Ingestion
from shared import timers
from shared.adapters.on_disk.evidence_package import PackageWriter
from shared.application.ports.evidence import PackageFacts
from shared.application.ports.inference import Tokenizer
from shared.domain.identifiers import BillingPeriod
from shared.generated_secrets import generate_key_file
from tests.architecture.test_docs import ROOT
from tests.functions.telemetry.test_export import KEY, serving
from tests.tools.alert_receivers import SIGNING_SECRET, Receiver, running_receiver
from tests.tools.later_hosts import later_hosts
from tests.tools.sounds import wav
from tests.tools.stack import (
    ADMIN_KEY,
    CHAIN_KEY,
    HOST_KEY,
    PRIVACY_KEY,
    SIMULATOR_KEY,
    AzuriteAccount,
    Stack,
    running_azurite,
    running_stack,
)
from tests.tools.tampering import Package

PROMPT, COMPLETION, ARGUMENT, NAME, USER = (f"canary-{each}-5d1f8e" for each in ("pr", "co", "ar", "na", "us"))
IMAGE = base64.b64encode(f"canary-image-{PROMPT}".encode()).decode()
SECRETS = (ADMIN_KEY, CHAIN_KEY, HOST_KEY, PRIVACY_KEY, SIMULATOR_KEY, SIGNING_SECRET, "SECRET-SIGNATURE")
CANARIES = (PROMPT, COMPLETION, ARGUMENT, NAME, USER, IMAGE)
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": f'{{"q": "{ARGUMENT}"}}'}}
MESSAGES = [
    {"role": "system", "content": PROMPT, "name": NAME},
    {"role": "user", "content": [
        {"type": "text", "text": PROMPT},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
    ]},
    {"role": "assistant", "content": COMPLETION, "tool_calls": [TOOL_CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": ARGUMENT},
]  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": NAME, "description": PROMPT, "parameters": {"x": ARGUMENT}}}]
CHAT = {"messages": MESSAGES, "tools": TOOLS, "user": USER, "metadata": {"k": PROMPT}, "stop": [PROMPT]}
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": COMPLETION, "tool_calls": [TOOL_CALL]}}]}
ERROR = {"error": {"code": "x", "message": COMPLETION, "param": PROMPT, "type": NAME, "inner_error": {"code": PROMPT}}}


DATA = (ROOT / "docs" / "reference" / "data.md").read_text()


def is_documented(name: str) -> bool:
    """Tell whether the page on data says what a table or container holds and how long it is kept."""
    rows = [line for line in DATA.splitlines() if line.startswith("|")]
    written = re.sub(r"[0-9]{6}$", "{YYYYMM}", name)
    return any(f"`{written}`" in row.split("|")[1] for row in rows)


class Writing:
    """Everything that the gateway writes in a test: an Azurite of its own, and all loggers at their most talkative."""

    def __init__(
        self,
        stack: Stack,
        account: AzuriteAccount,
        receiver: Receiver,
        log: pytest.LogCaptureFixture,
        folder: Path,
        ingestion: Ingestion,
    ) -> None:
        self.stack, self.account, self.receiver, self.log, self.folder = stack, account, receiver, log, folder
        self.ingestion = ingestion

    async def check(self, *needed: str) -> None:
        """Compare everything with the canaries. `needed` must be in it: else nothing was looked at."""
        await self.stack.settled()
        for timer in (timers.roll_up_usage, timers.chain_audit, timers.anchor_audit, timers.reset_monthly_quotas):
            await timer(past_due=False)
        written = [*await self._alerts(), await self._archive(), await self._reports(), *await self._evidence()]
        written += await self._proofs()
        await self._finish_month()
        told = [self.log.text, await self._telemetry()]
        for secret in (*SECRETS, self.stack.key):
            assert not any(secret in text for text in told), secret
        written += [*told, *[text async for text in self._tables()], *[text async for text in self._blobs()]]
        for text in written:
            for canary in CANARIES:
                at = text.find(canary)
                assert at < 0, text[max(0, at - 300) : at + 300]
        for each in (
            "credentials",
            "configuration.jsonl",
            "key.used_after_end",
            "tallygate-proof-1",
            "statements.csv",
            "RemoteDependencyData",
            *needed,
        ):
            assert any(each in text for text in written), each

    async def _telemetry(self) -> str:
        """Return all metrics, spans and lines that a monitor got."""
        await (await self.stack.gateway()).telemetry.flush()
        return json.dumps(self.ingestion.envelopes)

    async def _tables(self) -> AsyncIterator[str]:
        credential = AzureNamedKeyCredential(ACCOUNT, self.account.key)
        async with TableServiceClient(self.account.table_endpoint, credential=credential) as service:
            async for table in service.list_tables():
                assert is_documented(table.name), table.name
                async for entity in service.get_table_client(table.name).list_entities():
                    yield f"{table.name} {dict(entity)}"

    async def _blobs(self) -> AsyncIterator[str]:
        credential = {"account_name": ACCOUNT, "account_key": self.account.key}
        async with BlobServiceClient(self.account.blob_endpoint, credential=credential) as service:
            async for container in service.list_containers():
                assert is_documented(container.name), container.name
                client = service.get_container_client(container.name)
                async for blob in client.list_blobs():
                    content = await (await client.download_blob(blob.name)).readall()
                    yield f"{container.name}/{blob.name} {content.decode()}"

    async def _archive(self) -> str:
        gateway, file = await self.stack.gateway(), self.folder / "archive.gz"
        await gateway.ledger.archive.export(str(BillingPeriod.containing(gateway.clock.now())), file)
        return gzip.decompress(file.read_bytes()).decode()

    async def _evidence(self) -> list[str]:
        """Return every file of the evidence packages, of all tenants and of one."""
        gateway, texts = await self.stack.gateway(), list[str]()
        period = str(BillingPeriod.containing(gateway.clock.now()))
        for tenant in (None, self.stack.tenant):
            path = self.folder / "evidence.zip"
            facts = PackageFacts(origin="canary", tenant=tenant, periods=[period])
            with PackageWriter(path, facts) as package:
                await gateway.evidence(facts, package, lambda _done, _total: None)
            for name, content in Package(path).files.items():
                texts.append(f"{name} {(gzip.decompress(content) if name.endswith('.gz') else content).decode()}")
        return texts

    async def _alerts(self) -> list[str]:
        """Raise an alert by a call with content, deliver it, and return what the receiver got."""
        path = f"/manage/tenants/{self.stack.tenant}/keys"
        made = await self.stack.manage("POST", path, {})
        await self.stack.manage("DELETE", f"{path}/{made['key_id']}")
        assert await send(self.stack, "chat/completions", "gpt-4o", CHAT, **{"api-key": made["key"]}) == 401
        await self.stack.settled()
        await timers.deliver_alerts(past_due=False)
        assert self.receiver.arrivals
        return [f"{each.path} {each.headers} {each.body.decode()}" for each in self.receiver.arrivals]

    async def _proofs(self) -> list[str]:
        """Return the proofs of some entries."""
        path = f"/manage/tenants/{self.stack.tenant}/entries"
        rids = {each["rid"] for each in await self.stack.entries() if each.get("rid")}
        return [str(await self.stack.manage("GET", f"{path}/{rid}/proof")) for rid in sorted(rids)[:3]]

    async def _finish_month(self) -> None:
        """Let a gateway of the next month close this one and write its statements."""
        gateway = await self.stack.gateway()
        now = gateway.clock.now()
        ahead = BillingPeriod.containing(now).end + timedelta(days=3) - now
        async with later_hosts(self.account, self.folder, 1, ahead_seconds=ahead.total_seconds()) as (host,):
            await host.run_timer("export_chargeback")

    async def _reports(self) -> str:
        path = f"/manage/tenants/{self.stack.tenant}"
        usage = await self.stack.manage("GET", f"{path}/usage?group_by=user,application,day")
        events = await self.stack.manage("GET", "/manage/audit?limit=500")
        return f"{usage} {await self.stack.entries()} {events}"


@pytest.fixture
async def writing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Writing]:
    caplog.set_level(logging.DEBUG)
    generate_key_file(tmp_path / "key.pem")
    ingestion = Ingestion()
    async with running_receiver() as receiver, serving(ingestion) as monitor:
        with running_azurite(tmp_path) as account:
            settings = {
                "ALERT_SECRETS": json.dumps({"address": receiver.url, "signing": SIGNING_SECRET}),
                "AUDIT_SIGNING_KEY_FILE": str(tmp_path / "key.pem"),
                "APPLICATIONINSIGHTS_CONNECTION_STRING": f"{KEY};IngestionEndpoint={monitor}/",
                "TELEMETRY_SAMPLING_RATIO": "1",
            }
            async with running_stack(monkeypatch, tmp_path, {**account.settings, **settings}) as stack:
                await configure(stack)
                yield Writing(stack, account, receiver, caplog, tmp_path, ingestion)


async def configure(stack: Stack) -> None:
    """Ask for all that may be kept of content, and for alerts by webhook."""
    asked = {"pseudonymise_users": True, "prompt_hmac": True, "content_filter_policy": "annotate"}
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", asked)
    webhook = {"type": "webhook", "address_secret": "address", "signing_secret": "signing"}
    for owner in ("", f"/tenants/{stack.tenant}"):
        await stack.manage("PUT", f"/manage{owner}/alerts/sinks/receiver", webhook)


async def send(stack: Stack, operation: str, model: str, body: Any, **headers: str) -> int:
    """Send a request on the v1 path, and read its answer. Returns the status; 0 if the answer broke."""
    sent = {"api-key": stack.key, "x-gateway-user": USER, **headers}
    given = json.dumps({"model": model, **body}) if isinstance(body, dict) else body
    given = io.BytesIO(given) if isinstance(given, bytes) else given
    if isinstance(given, str | io.BytesIO):
        sent = {"content-type": "application/json", **sent}
    try:
        async with stack.session.post(f"{stack.url}/openai/v1/{operation}", data=given, headers=sent) as response:
            await response.read()
            return response.status
    except aiohttp.ClientError:
        return 0


def sound(**fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for name, text in {"model": "whisper", "prompt": PROMPT, **fields}.items():
        form.add_field(name, text)
    form.add_field("file", io.BytesIO(wav(1.0)), filename=f"{NAME}.wav", content_type="audio/wav")
    return form


async def every_operation(stack: Stack) -> None:
    for stream in (False, True):
        assert await send(stack, "chat/completions", "gpt-4o", {**CHAT, "stream": stream}) == 200
        legacy = {"prompt": [PROMPT], "suffix": PROMPT, "stream": stream, "user": USER}
        assert await send(stack, "completions", "gpt-35-turbo-instruct", legacy) == 200
        for background in (False, True):
            response = {"input": PROMPT, "instructions": PROMPT, "stream": stream, "background": background}
            assert await send(stack, "responses", "gpt-4o", {**response, "safety_identifier": USER}) == 200
        assert await send(stack, "audio/transcriptions", "", sound(stream=str(stream).lower())) == 200
    assert await send(stack, "embeddings", "text-embedding-3-small", {"input": [PROMPT], "user": USER}) == 200
    assert await send(stack, "images/generations", "dall-e-3", {"prompt": PROMPT, "user": USER}) == 200
    assert await send(stack, "audio/translations", "", sound(response_format="verbose_json")) == 200
    speech = {"input": PROMPT, "instructions": PROMPT, "voice": "alloy"}
    for format_ in ("audio", "sse"):
        assert await send(stack, "audio/speech", "tts-hd", {**speech, "stream_format": format_}) == 200


async def refused_requests(stack: Stack) -> None:
    whole = json.dumps({"model": "gpt-4o", **CHAT})
    for body in (
        whole[:-9],
        whole.encode("utf-16"),
        whole.replace('"user"', f'"{NAME}"', 1),
        {**CHAT, "max_tokens": PROMPT},
        {**CHAT, "messages": PROMPT},
        {**CHAT, "tools": [{"type": PROMPT}]},
        {**CHAT, "stream": PROMPT},
        {**CHAT, "model": PROMPT},
        {**CHAT, "messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": PROMPT}}]}]},
        {**CHAT, "user": {"x": PROMPT}, "n": 10**9},
    ):
        assert await send(stack, "chat/completions", "gpt-4o", body) >= 200
    for item in ({"type": PROMPT}, {"type": "item_reference", "id": PROMPT}, PROMPT):
        await send(stack, "responses", "gpt-4o", {"input": [item], "previous_response_id": PROMPT})
    await send(stack, "audio/transcriptions", "", sound(stream=PROMPT))
    await send(stack, "chat/completions", "gpt-4o", b"x" * (21 * 1024 * 1024) + PROMPT.encode())
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"max_tokens_per_request": 1})
    assert await send(stack, "chat/completions", "gpt-4o", CHAT) == 400
    changed = {"max_tokens_per_request": None, "requests_per_minute": 1}
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", changed)
    assert 429 in [await send(stack, "chat/completions", "gpt-4o", CHAT) for _ in range(3)]
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"requests_per_minute": None})
    assert await send(stack, "chat/completions", "gpt-4o", CHAT, **{"api-key": f"tg_{PROMPT}"}) == 401


async def filtered_content(stack: Stack) -> None:
    for policy in ("annotate", "block"):
        changed = {"content_filter_policy": policy, "content_filter_threshold": "low"}
        await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", changed)
        for mark in ("[filter-prompt]", "[filter-completion]", "[annotate-prompt]", "[annotate-completion]"):
            for stream in (False, True):
                message = {"role": "user", "content": f"{mark} {PROMPT}"}
                body = {"messages": [message], "user": USER, "stream": stream}
                assert await send(stack, "chat/completions", "gpt-4o", body) in (200, 400)


FAULTS: list[dict[str, Any]] = [
    *({"kind": "status", "status": status, "body": ERROR} for status in (400, 401, 404, 422, 429, 500, 503)),
    {"kind": "status", "status": 200, "body": COMPLETION},
    {"kind": "lie", "body": ANSWER},
    {"kind": "lie", "body": {**ANSWER, "usage": COMPLETION, "service_tier": {"x": COMPLETION}}},
    {"kind": "script", "events": [ANSWER, {"choices": COMPLETION}, ERROR], "ending": f"data: {COMPLETION}"},
    *({"kind": kind} for kind in ("malformed", "break", "no_usage", "refuse", "end")),
]


async def failing_backends(stack: Stack) -> None:
    for number, fault in enumerate(FAULTS):
        for stream in (False, True):
            name = f"b-{number}-{stream}"  # a new one: the breaker of the one before may be open
            await stack.backend("swedencentral", name)
            await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": [name]})
            await stack.fault(**fault)
            await send(stack, "chat/completions", "gpt-4o", {**CHAT, "stream": stream})
            await stack.release_faults()


async def callers_that_leave(stack: Stack) -> None:
    for policy in ("drain", "cut"):
        await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"on_disconnect": policy})
        await stack.fault(kind="stall", after_chunks=1)
        body = {"model": "gpt-4o", **CHAT, "stream": True}
        headers = {"api-key": stack.key, "x-gateway-user": USER}
        async with stack.session.post(f"{stack.url}/openai/v1/chat/completions", json=body, headers=headers) as answer:
            await answer.content.readany()
            answer.close()
        await stack.release_faults()


class _Broken:
    """A tokenizer whose defect quotes what it was given."""

    def count(self, text: str, model: str) -> int:
        raise ValueError(f"{model} cannot read {text} by {USER}")


class _BrokenAtAnswers:
    """A tokenizer that reads the request, and fails at the answer."""

    def __init__(self, right: Tokenizer) -> None:
        self._right = right

    def count(self, text: str, model: str) -> int:
        if text not in ("user", PROMPT):
            raise ValueError(f"{COMPLETION} {PROMPT} {text}")
        return self._right.count(text, model)


async def defects(stack: Stack) -> None:
    gateway: Any = await stack.gateway()
    admit = gateway.inference.serve._resolve._admit
    tokenizer, admit._tokenizer = admit._tokenizer, _Broken()
    assert await send(stack, "chat/completions", "gpt-4o", CHAT) == 500
    assert await send(stack, "chat/completions", "gpt-4o", {**CHAT, "messages": [{"content": PROMPT * 9000}]}) == 500
    admit._tokenizer = tokenizer
    for stream in (False, True):
        await stack.fault(kind="no_usage")
        admit._tokenizer = _BrokenAtAnswers(tokenizer)
        body = {"messages": [{"role": "user", "content": PROMPT}], "user": USER, "stream": stream}
        await send(stack, "chat/completions", "gpt-4o", body)
        await stack.release_faults()
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"on_disconnect": "drain"})
    await stack.fault(kind="stall", after_chunks=2)
    headers = {"api-key": stack.key}
    async with stack.session.post(
        f"{stack.url}/openai/v1/chat/completions", json={"model": "gpt-4o", **body}, headers=headers
    ) as answer:
        await answer.content.readany()
        answer.close()
    await stack.release_faults()
    await stack.settled()
    gc.collect()  # asyncio reports failed tasks when they are collected


@pytest.mark.parametrize(
    ("act", "needed"),
    [
        (every_operation, ("audio/speech", "prompt_hmac")),
        (refused_requests, ("gateway.refusals",)),
        (filtered_content, ("hate:",)),
        (failing_backends, ("upstream_500",)),
        (callers_that_leave, ("client_disconnected",)),
        (defects, ("ValueError", "AnswerFailed")),
    ],
)
async def test_no_content_is_kept(
    writing: Writing, act: Callable[[Stack], Awaitable[None]], needed: tuple[str, ...]
) -> None:
    await act(writing.stack)
    (await writing.stack.gateway()).refusals.flush()
    await writing.check("u-", *needed)
