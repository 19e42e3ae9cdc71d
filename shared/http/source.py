"""Read the network address of a caller, so that nobody can write it into a header."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import Final

from starlette.requests import Request

_FORWARDED_FOR: Final = b"x-forwarded-for"
UNKNOWN: Final = ""


def source_of(request: Request, trusted_proxy_hops: int) -> str:
    """Return the IP address of a request's caller; an empty text if it cannot be known.

    - Each proxy appends the address of its own peer to `X-Forwarded-For`. Of `trusted_proxy_hops` proxies, the
      outermost one wrote the entry at that place from the right. The caller may have written all further left.
    - Without trusted proxies it is the address of the peer. The header is ignored.
    """
    forwarded = b",".join(text for name, text in request.scope["headers"] if name == _FORWARDED_FOR)
    entries = forwarded.decode("latin-1").split(",")
    if trusted_proxy_hops:
        return _address(entries[-trusted_proxy_hops]) if len(entries) >= trusted_proxy_hops else UNKNOWN
    peer = _address(request.client.host) if request.client else UNKNOWN
    # The server in the Functions worker replaces a peer on its own machine by the header's last entry.
    return UNKNOWN if peer in map(_address, entries) else peer


def _address(text: str) -> str:
    """Return the IP address of `address`, `address:port` or `[address]:port`; an empty text for anything else.

    Azure's front ends write ports: https://learn.microsoft.com/azure/application-gateway/how-application-gateway-works
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return UNKNOWN
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)
