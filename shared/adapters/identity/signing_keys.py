"""The signing keys of one directory, cached and refreshed at a bounded rate, so that callers rarely wait for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Final

from shared.adapters.identity.key_documents import KeysNotFetched
from shared.application.ports.clock import Clock
from shared.domain.errors import IdentityProviderUnavailable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

REFRESH_SECONDS: Final = 3600.0
"""Keys of this age are fetched again in the background. Entra recommends to look for new ones once a day.

After as long again without a token to verify, callers wait for the fetch: a key may have been withdrawn long ago.
"""
UNKNOWN_KEY_SECONDS: Final = 60.0
"""An unknown key id does not cause a fetch within this time after the last one."""
RETRY_SECONDS: Final = 10.0
"""Nothing is fetched within this time after a failure."""
_logger: Final = logging.getLogger("tallygate")


class SigningKeys:
    """Keys by id. The last set is kept while the identity provider cannot be reached.

    A key that a newer set does not list is not accepted any longer.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Mapping[str, RSAPublicKey]]],
        clock: Clock,
        on_removal: Callable[[], None],
    ) -> None:
        """`fetch` raises `KeysNotFetched`. `on_removal` is called after a new set has lost a key of the last one."""
        self._fetch = fetch
        self._clock = clock
        self._on_removal = on_removal
        self._keys: Mapping[str, RSAPublicKey] = {}
        self._has_failed = False
        """The last fetch failed, so that a key may exist that is not known."""
        self._refresh_at = 0.0
        self._next_fetch_at = 0.0
        """Moments of the monotonic clock."""
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> RSAPublicKey | None:
        """Return a key; `None` if the directory has no key with this id.

        Raises `IdentityProviderUnavailable` if that is not known, because the keys could not be fetched.
        """
        key = self._keys.get(key_id)
        overdue = self._clock.monotonic() - self._refresh_at
        if key is not None and overdue < REFRESH_SECONDS:
            if overdue >= 0:
                self._join_or_start()  # in the background
            return key
        if self._fetching is not None or self._clock.monotonic() >= self._next_fetch_at:
            await asyncio.shield(self._join_or_start())  # a caller that is cancelled must not cancel it for the others
            key = self._keys.get(key_id)
        if key is None and self._has_failed:
            raise IdentityProviderUnavailable
        return key

    async def close(self) -> None:
        """Stop a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    def _join_or_start(self) -> asyncio.Task[None]:
        """Return the fetch that is under way, or start one."""
        if self._fetching is None:
            # A context of its own: the fetch belongs to no single request, and its log lines name none.
            self._fetching = asyncio.create_task(self._refresh(), context=Context())
        return self._fetching

    async def _refresh(self) -> None:
        """Replace the keys by a new set. Keeps them, and says so in the log, if there is none."""
        try:
            keys = await self._fetch()
        except KeysNotFetched as error:
            self._has_failed = True
            self._refresh_at = self._next_fetch_at = self._clock.monotonic() + RETRY_SECONDS
            _logger.warning("the signing keys of access tokens could not be fetched: %s", error)
        else:
            is_any_removed = any(keys.get(key_id) != key for key_id, key in self._keys.items())
            self._keys, self._has_failed = keys, False
            self._refresh_at = self._clock.monotonic() + REFRESH_SECONDS
            self._next_fetch_at = self._clock.monotonic() + UNKNOWN_KEY_SECONDS
            if is_any_removed:
                self._on_removal()
        finally:
            self._fetching = None
