"""The key file of a laptop, and the witness behind a webhook."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from shared.adapters import ecdsa_keys
from shared.adapters.in_memory.anchors import InMemoryAnchors
from shared.adapters.on_disk.signer import KeyFileSigner
from shared.adapters.webhooks.checkpoints import CheckpointWebhook
from shared.application.ports.anchors import SigningUnavailable
from shared.domain.errors import StorageUnavailable
from shared.generated_secrets import generate_key_file
from tests.tools.anchor_logs import trusted
from tests.tools.stack import free_port


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "keys" / "audit-signing-key.pem"
    generate_key_file(made)
    return made


async def test_a_generated_key_is_for_its_owner_alone_and_signs(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    signer = KeyFileSigner(path)
    (made,) = await signer.sign(b"message")
    (key,) = await signer.public_keys()
    assert made.key.encoded == key.encoded
    assert key.verify(made.signature, b"message")


async def test_a_key_is_generated_once(path: Path) -> None:
    content = path.read_bytes()
    generate_key_file(path)
    assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == [path.name]


async def test_processes_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    await asyncio.gather(*(asyncio.to_thread(generate_key_file, path) for _ in range(4)))
    assert len(await KeyFileSigner(path).public_keys()) == 1


async def test_a_file_that_others_can_read_is_refused(path: Path) -> None:
    path.chmod(0o640)
    with pytest.raises(SigningUnavailable, match="set its mode to 0600"):
        await KeyFileSigner(path).public_keys()


async def test_a_file_that_is_missing_or_damaged_is_told(path: Path) -> None:
    with pytest.raises(SigningUnavailable, match="cannot be read: No such file"):
        await KeyFileSigner(path.with_name("none.pem")).sign(b"x")
    path.write_bytes(path.read_bytes()[:60] + b"\n-----END PRIVATE KEY-----\n")
    with pytest.raises(SigningUnavailable, match="cannot be used"):
        await KeyFileSigner(path).sign(b"x")


async def test_a_file_with_public_keys_only_signs_nothing(path: Path) -> None:
    path.write_text(ecdsa_keys.pem_of(trusted()[0]))
    assert len(await KeyFileSigner(path).public_keys()) == 1
    with pytest.raises(SigningUnavailable, match="has no private key"):
        await KeyFileSigner(path).sign(b"x")


@dataclass(slots=True)
class Receiver:
    """A server that keeps what it gets."""

    url: str = ""
    status: int = 204
    got: list[tuple[str, bytes]] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        self.got.append((request.headers["content-type"], await request.read()))
        headers = {"location": self.url} if self.status == 307 else {}
        return web.Response(status=self.status, headers=headers)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made, port = Receiver(), free_port()
    application = web.Application()
    application.router.add_post("/checkpoints", made.receive)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    made.url = f"http://127.0.0.1:{port}/checkpoints"
    yield made
    await runner.cleanup()


def stated(url: str) -> Callable[[], Awaitable[str]]:
    async def read() -> str:
        return url

    return read


async def test_a_webhook_gets_the_checkpoint_as_text(receiver: Receiver) -> None:
    await CheckpointWebhook(stated(receiver.url)).tell(1, b"log\n1\n", InMemoryAnchors())
    assert receiver.got == [("text/plain; charset=utf-8", b"log\n1\n")]


@pytest.mark.parametrize("status", [500, 404, 307, 302])
async def test_a_webhook_that_refuses_or_redirects_is_told(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with pytest.raises(StorageUnavailable, match=f"answered {status}"):
        await CheckpointWebhook(stated(receiver.url)).tell(1, b"x", InMemoryAnchors())
    assert len(receiver.got) == 1


async def test_a_webhook_that_cannot_be_reached_is_told_without_its_address() -> None:
    url = f"http://127.0.0.1:{free_port()}/token-in-the-path"
    with pytest.raises(StorageUnavailable) as raised:
        await CheckpointWebhook(stated(url)).tell(1, b"x", InMemoryAnchors())
    assert "token-in-the-path" not in str(raised.value)
