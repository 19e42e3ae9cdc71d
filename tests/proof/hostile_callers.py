"""Callers of a soak who send ambiguous bodies, or half of one, or do not read, and an upstream that lies."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp

DEPLOYMENT = "gpt-4o-mini"
PATIENCE_SECONDS = 30
_PAUSE_SECONDS = 0.1
_LIES: tuple[dict[str, Any], ...] = (
    {},
    {"total_tokens": 7},
    {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    {"prompt_tokens": -9, "completion_tokens": -9, "total_tokens": -18},
    {"prompt_tokens": 10**19, "completion_tokens": 10**19, "total_tokens": 2 * 10**19},
    {"prompt_tokens": "many", "completion_tokens": None},
)


class HostileCallers:
    """Attacks any gateway of a fleet, one attack after the other, until it is cancelled."""

    def __init__(
        self, session: aiohttp.ClientSession, simulator_url: str, key: str, any_url: Callable[[], str], seed: int
    ) -> None:
        self._session = session
        self._simulator_url = simulator_url
        self._key = key
        self._any_url = any_url
        self._dice = random.Random(seed)
        self.answers: Counter[tuple[str, int]] = Counter()
        """By attack and status; 0 if the connection was closed or the caller lost patience."""

    async def run(self) -> None:
        """Attack until cancelled."""
        attacks = (
            self._duplicate_keys,
            self._unknown_key,
            self._long_key,
            self._half_a_body,
            self._unread_stream,
            self._huge_body,
            self._deep_body,
            self._lied_to,
        )
        while True:
            attack = self._dice.choice(attacks)
            try:
                status = await asyncio.wait_for(attack(), PATIENCE_SECONDS)
            except (aiohttp.ClientError, OSError, TimeoutError):
                status = 0
            self.answers[attack.__name__.strip("_"), status] += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    @property
    def defects(self) -> list[str]:
        """Attacks that were answered by an internal error, and bad bodies or keys that were served."""
        served = ("duplicate_keys", "unknown_key", "long_key", "huge_body", "deep_body")
        return [
            f"{attack} was answered {status} {times} times"
            for (attack, status), times in self.answers.items()
            if status == 500 or (status == 200 and attack in served)
        ]

    async def _post(self, body: bytes, key: str | None = None) -> int:
        headers = {"api-key": self._key if key is None else key, "content-type": "application/json"}
        url = f"{self._any_url()}/openai/v1/chat/completions"
        async with self._session.post(url, data=body, headers=headers) as response:
            await response.read()
            return response.status

    async def _duplicate_keys(self) -> int:
        twice = self._dice.choice(('"model":"gpt-4o"', '"\\u006dodel":"gpt-4o"', '"max_tokens":1'))
        body = _body(max_tokens=9)[:-1] + b"," + twice.encode() + b"}"
        return await self._post(body)

    async def _unknown_key(self) -> int:
        return await self._post(
            _body(), f"tg_hostile-{self._dice.getrandbits(32):08x}_{self._dice.getrandbits(256):064x}"
        )

    async def _long_key(self) -> int:
        return await self._post(_body(), "tg_" + "x" * 6000)

    async def _huge_body(self) -> int:
        return await self._post(b" " * (21 * 2**20) + _body())

    async def _deep_body(self) -> int:
        return await self._post(b'{"model":"gpt-4o","messages":' + b"[" * 5000 + b"]" * 5000 + b"}")

    async def _lied_to(self) -> int:
        lie = {"kind": "lie", "deployment": DEPLOYMENT, "body": {"usage": self._dice.choice(_LIES)}}
        await (await self._session.post(f"{self._simulator_url}/_sim/faults", json=lie)).release()
        return await self._post(_body(stream=self._dice.random() < 0.5))

    async def _half_a_body(self) -> int:
        """Send half of a body, and go away some seconds later."""
        body = _body()
        return await self._raw(body[: len(body) // 2], len(body))

    async def _unread_stream(self) -> int:
        """Ask for a long stream, read nothing of it, and go away some seconds later."""
        body = _body(stream=True, max_tokens=4000)
        return await self._raw(body, len(body))

    async def _raw(self, body: bytes, length: int) -> int:
        target = urlsplit(self._any_url())
        _, writer = await asyncio.open_connection(target.hostname, target.port, limit=1024)
        try:
            head = f"POST /openai/v1/chat/completions HTTP/1.1\r\nhost: x\r\napi-key: {self._key}\r\n"
            head += f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            await asyncio.sleep(self._dice.uniform(0.5, 5))
        finally:
            writer.close()
        return 0


def _body(**fields: Any) -> bytes:
    messages = [{"role": "user", "content": "Hello!"}]
    return json.dumps({"model": DEPLOYMENT, "messages": messages, "max_tokens": 20, **fields}).encode()
