"""Bound the look-ups of keys that turn out to be unknown, for each source and for the process."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

_MINUTE: Final = 60_000
"""Milliseconds: whole numbers add up exactly."""
_PER_SOURCE: Final = 10
_PER_PROCESS: Final = 100
_MAX_SOURCES: Final = 10_000
_IPV6_PREFIX: Final = 64
"""One customer of a provider has at least such a network, and all addresses in it."""


class LookupBudget:
    """Look-ups that may fail in a minute: 10 of one source, 100 of all. All may be used at once.

    Its state is the theoretical arrival time of each source (GCRA). It remembers the sources that came last.
    """

    def __init__(self, max_sources: int = _MAX_SOURCES) -> None:
        self._max_sources = max_sources
        self._arrivals: OrderedDict[str, int] = OrderedDict()
        self._process_arrival = 0

    def take(self, source: str, now: float) -> bool:
        """Take one look-up of a source at a monotonic time in seconds. Returns false if its budget is used up."""
        moment = int(now * 1000)
        of_source = _next_arrival(self._arrivals.get(source, 0), _PER_SOURCE, moment)
        of_process = _next_arrival(self._process_arrival, _PER_PROCESS, moment)
        if max(of_source, of_process) > moment + _MINUTE:
            return False
        self._arrivals[source] = of_source
        self._process_arrival = of_process
        self._arrivals.move_to_end(source)
        if len(self._arrivals) > self._max_sources:
            self._arrivals.popitem(last=False)
        return True

    def give_back(self, source: str) -> None:
        """Return a look-up that found a key."""
        self._process_arrival -= _MINUTE // _PER_PROCESS
        if source in self._arrivals:
            self._arrivals[source] -= _MINUTE // _PER_SOURCE


def _next_arrival(arrival: int, per_minute: int, moment: int) -> int:
    return max(arrival, moment) + _MINUTE // per_minute


def network_of(source: str) -> str:
    """Return the network whose callers count as one source: an IPv4 address, or 64 bits of an IPv6 address.

    Returns a text that is no address unchanged.
    """
    try:
        address = ip_address(source)
    except ValueError:
        return source
    if not isinstance(address, IPv6Address):
        return source
    return str(IPv6Network((int(address), _IPV6_PREFIX), strict=False))
