"""A witness behind a webhook: it gets each checkpoint by POST."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp

from shared.application.ports.anchors import AnchorStore
from shared.domain.errors import StorageUnavailable

_HEADERS: Final = {"content-type": "text/plain; charset=utf-8"}


class CheckpointWebhook:
    """Implements `Witness`. Posts the newest checkpoint as text; it covers all earlier ones. Follows no redirect."""

    name = "the webhook"

    def __init__(self, url: Callable[[], Awaitable[str]]) -> None:
        """`url` returns the address, which may hold a secret. It raises `SecretUnavailable`, as `tell` then does."""
        self._url = url

    async def tell(self, size: int, checkpoint: bytes, log: AnchorStore) -> None:  # noqa: ARG002 - the text tells both
        url = await self._url()
        try:
            async with (
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.post(url, data=checkpoint, headers=_HEADERS, allow_redirects=False) as response,
            ):
                status = response.status
        except aiohttp.ClientError as error:
            raise StorageUnavailable(f"The witness could not be reached: {type(error).__name__}.") from error
        if not 200 <= status < 300:
            raise StorageUnavailable(f"The witness answered {status}.")
