"""Look up what callers name in storage, and remember it. What turns out to be unknown costs little (ADR 26)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Hashable
from functools import partial
from typing import Final, Generic, TypeVar

from shared.application.cached_value import FRESH_SECONDS, Cached
from shared.application.ports.clock import Clock
from shared.domain.tenancy.lookup_budget import LookupBudget, network_of

NameT = TypeVar("NameT", bound=Hashable)
FoundT = TypeVar("FoundT")
T = TypeVar("T")
MAX_KNOWN: Final = 10_000


class LookUps(Generic[NameT, FoundT]):
    """Finds things by names that outsiders choose. What it returns is at most 25 s old.

    Outsiders cannot make it look at storage more often than the budget allows. A caller beyond the budget of its source
    is not locked out: the name is compared with a list of all names that is at most 25 s old.
    """

    def __init__(
        self,
        load: Callable[[NameT], Awaitable[FoundT | None]],
        names: Callable[[], Awaitable[Collection[NameT]]],
        clock: Clock,
        max_known: int = MAX_KNOWN,
    ) -> None:
        """`load` asks storage for one thing, and `names` for the names of all."""
        self.known: OrderedDict[NameT, Cached[FoundT | None]] = OrderedDict()
        """The names that were found. A caller that finds its name here need not call `find`."""
        self._load = load
        self._names = Cached(names, clock)
        self._clock = clock
        self._max_known = max_known
        self._unknown: OrderedDict[NameT, float] = OrderedDict()
        self._looked_up: dict[NameT, Cached[FoundT | None]] = {}
        self._budget = LookupBudget()

    async def find(self, name: NameT, source: Callable[[], str]) -> FoundT | None:
        """Return what is not in `known`; `None` if it is unknown to storage, too.

        `source` returns the network address of the caller. Raises the errors of `load` and of `names`.
        """
        if self._clock.monotonic() < self._unknown.get(name, 0.0):
            return None
        cached = self._looked_up.get(name)
        if cached is not None:  # another caller is looking for the same
            return await cached.get()
        network = network_of(source())
        is_budgeted = self._budget.take(network, self._clock.monotonic())
        if not is_budgeted and name not in await self._names.get():
            return None
        found = await self._look_up(name)
        if found is None:
            _put(self._unknown, name, self._clock.monotonic() + FRESH_SECONDS, self._max_known)
        elif is_budgeted:
            self._budget.give_back(network)
        return found

    def forget(self, is_changed: Callable[[NameT], bool]) -> None:
        """Load what has changed again before it is next used, because this process has changed it."""
        for name, cached in (*self.known.items(), *self._looked_up.items()):
            if is_changed(name):
                cached.invalidate()
        for name in [name for name in self._unknown if is_changed(name)]:
            del self._unknown[name]
        self._names.invalidate()

    async def _look_up(self, name: NameT) -> FoundT | None:
        """Ask storage. From then on this process knows what was found."""
        cached = self._looked_up.setdefault(name, Cached(partial(self._load, name), self._clock))
        try:
            found = await cached.get()
        finally:
            self._looked_up.pop(name, None)
        if found is not None:
            _put(self.known, name, cached, self._max_known)
        return found


def _put(cache: OrderedDict[NameT, T], name: NameT, found: T, max_size: int) -> None:
    """Remember something about a name. Beyond `max_size` the oldest is forgotten."""
    cache[name] = found
    if len(cache) > max_size:
        cache.popitem(last=False)
