"""Name users by aliases."""

from __future__ import annotations

from asyncio import Lock
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from shared.application.cached_value import Cached
from shared.application.ports.clock import Clock
from shared.application.ports.pseudonyms import Pseudonyms
from shared.application.tenancy.privacy_keys import PrivacyKeys
from shared.domain.errors import AlreadyExists, VersionConflict
from shared.domain.tenancy.pseudonyms import SHARED_ALIAS, PseudonymState, new_alias, user_key
from shared.domain.values import value

_MAX_KNOWN: Final = 20_000


@value
class _Known:
    """An alias that this process knows. It holds until the next erasure; the shared one also ends with its day."""

    alias: str
    erasures: int
    day: str


class PseudonymiseUsers:
    """Finds the alias of a user, or makes one. All processes use the same, and notice an erasure within 25 s.

    Only the first request of a user in this process waits for storage.
    """

    def __init__(self, pseudonyms: Pseudonyms, keys: PrivacyKeys, clock: Clock, max_known: int = _MAX_KNOWN) -> None:
        self._pseudonyms = pseudonyms
        self._keys = keys
        self._clock = clock
        self._max_known = max_known
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._states: dict[str, Cached[PseudonymState]] = {}
        self._making: defaultdict[str, Lock] = defaultdict(Lock)
        """By tenant: aliases are made one after the other, because each changes the tenant's state."""

    async def alias(self, tenant_id: str, user: str) -> str:
        """Return the alias of a user. Raises `StorageUnavailable` and `SecretUnavailable`."""
        state = await self._state_of(tenant_id).get()
        known = self._known.get((tenant_id, user))
        if known is not None and known.erasures == state.erasures and known.day in ("", self._today()):
            return known.alias
        alias = await self._find(tenant_id, user, state)
        # It is as old as `state`: an erasure since then has another number, so that the alias is asked for again.
        self._remember((tenant_id, user), _Known(alias, state.erasures, self._today() if alias == SHARED_ALIAS else ""))
        return alias

    def forget(self, tenant_id: str) -> None:
        """Ask storage again, because this process has erased a user of the tenant."""
        self._state_of(tenant_id).invalidate()

    async def _find(self, tenant_id: str, user: str, state: PseudonymState) -> str:
        keys = [user_key(key, tenant_id, user) for key in await self._keys.all()]
        found = await self._stored(tenant_id, keys)
        if found is None and state.is_full(self._today()):
            return SHARED_ALIAS
        return found or await self._make(tenant_id, keys)

    async def _make(self, tenant_id: str, keys: Sequence[str]) -> str:
        """Store a new alias. Of two processes, both get the alias of the one that was faster."""
        async with self._making[tenant_id]:
            while True:
                state, day = await self._pseudonyms.state(tenant_id), self._today()
                if (found := await self._stored(tenant_id, keys)) is not None:
                    return found
                if state.value.is_full(day):
                    return SHARED_ALIAS
                alias = new_alias()
                with suppress(AlreadyExists, VersionConflict):
                    await self._pseudonyms.add(tenant_id, keys[0], alias, state.etag, state.value.with_new(day))
                    return alias

    async def _stored(self, tenant_id: str, keys: Sequence[str]) -> str | None:
        """Return the alias that was made with the newest of the privacy keys."""
        for key in keys:
            if (found := await self._pseudonyms.alias(tenant_id, key)) is not None:
                return found
        return None

    def _state_of(self, tenant_id: str) -> Cached[PseudonymState]:
        state = self._states.get(tenant_id)
        if state is None:
            state = self._states[tenant_id] = Cached(partial(self._load, tenant_id), self._clock)
        return state

    async def _load(self, tenant_id: str) -> PseudonymState:
        return (await self._pseudonyms.state(tenant_id)).value

    def _remember(self, name: tuple[str, str], known: _Known) -> None:
        """Know an alias. Beyond the limit the user that was remembered first is forgotten."""
        self._known[name] = known
        if len(self._known) > self._max_known:
            self._known.popitem(last=False)

    def _today(self) -> str:
        return f"{self._clock.now():%Y-%m-%d}"
