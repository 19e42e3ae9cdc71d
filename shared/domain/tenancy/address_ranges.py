"""Ranges of network addresses from which a tenant or a key may be used."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

MAX_RANGES: Final = 100
_FORM: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}(/[0-9]{1,3})?", re.ASCII)
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
"""IPv4 addresses as IPv6 has them: https://www.rfc-editor.org/rfc/rfc4291#section-2.5.5.2"""


def normalised_range(text: str) -> str:
    """Return a range in its only stored form, such as `203.0.113.0/24`. A single address is a range of one.

    Raises `ValueError` for anything else, and for an address with bits behind its prefix.
    """
    if _FORM.fullmatch(text) is None:
        raise ValueError("must be an address or a range, for example 203.0.113.0/24 or 2001:db8::/32")
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        # Callers over such addresses are known by their IPv4 address.
        network = IPv4Network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - _MAPPED.prefixlen))
    return str(network)


def is_within(ranges: tuple[str, ...], address: str) -> bool:
    """Tell whether an address lies in one of the ranges. An address that is not known, an empty text, lies in none."""
    if not address:
        return False
    number = ip_address(address)
    version, value = number.version, int(number)
    return any(version == of and first <= value <= last for of, first, last in _bounds(ranges))


@lru_cache(maxsize=1024)  # parsing a range costs more than comparing with it
def _bounds(ranges: tuple[str, ...]) -> tuple[tuple[int, int, int], ...]:
    networks = map(ip_network, ranges)
    return tuple((each.version, int(each.network_address), int(each.broadcast_address)) for each in networks)
