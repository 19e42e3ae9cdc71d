"""The addresses that alerts may be sent to. A sink must not make the gateway call its own network (SSRF)."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

from shared.domain.routing.endpoints import LOOPBACK_HOSTS
from shared.domain.values import record

_URL: Final = re.compile(r"[!-\[\]^-~]{1,2048}")
"""Printable ASCII without blanks and backslashes."""
_HOST: Final = re.compile(r"(?=.{1,253}$)([0-9a-z_-]{1,63}\.)+[0-9a-z-]{1,63}")
"""A name of the DNS. An IP address with a zone, such as `::1%.example.com`, ends like a name, and is none."""
_WIRE_SERVER: Final = ip_address("168.63.129.16")
"""Azure's own service beside each machine. It has a public address, and tells a machine its secrets."""
_NAT64: Final = ip_network("64:ff9b::/96")


@record
class AddressRules:
    """The hosts and the networks that sinks may have."""

    host_suffixes: tuple[str, ...]
    """The hosts of webhooks."""
    topic_suffixes: tuple[str, ...]
    """The hosts of topics of Event Grid, which get a token."""
    allow_private: bool = False
    """Webhooks may have addresses of private networks. Topics always may, because of private endpoints."""
    allow_loopback: bool = False
    """Sinks may be on this machine, without TLS: only for emulators."""

    def url(self, text: str, suffixes: tuple[str, ...]) -> URL:
        """Return the address of a sink. Raises `ValueError`, whose text does not quote it."""
        if _URL.fullmatch(text) is None:
            raise ValueError("is no URL")
        url, host = _parsed(text)
        if url.user is not None or url.password is not None or not host:
            raise ValueError("must be a URL with a host and without a user")
        if self.allow_loopback and (host in LOOPBACK_HOSTS or host == "::1") and url.scheme in ("http", "https"):
            return url
        is_listed = _HOST.fullmatch(host) is not None and host.endswith(tuple(map(str.lower, suffixes)))
        if url.scheme != "https" or not is_listed:
            raise ValueError("must be https and have a host on the list of allowed ones")
        return url

    def admits(self, address: str, *, private: bool) -> bool:
        """Tell whether the gateway may connect to an IP address; `private` for one that may be a private one."""
        ip = _plain(ip_address(address.partition("%")[0]))
        if ip.is_loopback:
            return self.allow_loopback
        if ip == _WIRE_SERVER or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
            return False
        return ip.is_global or (private and ip.is_private)


class CheckedResolver(AbstractResolver):
    """Resolves a host once, and returns only addresses that are admitted. The connection is made to one of these.

    So a name that changes its address between a check and the connection gains nothing (DNS rebinding).
    """

    def __init__(self, admits: Callable[[str], bool], resolver: AbstractResolver | None = None) -> None:
        """`admits` tells whether an IP address may be connected to. Must be made inside an event loop."""
        self._admits = admits
        self._resolver = resolver or DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        admitted = [each for each in found if self._admits(each["host"])]
        if not admitted:
            raise OSError(None, "The host has no address that is allowed.")
        return admitted

    async def close(self) -> None:
        await self._resolver.close()


def _parsed(text: str) -> tuple[URL, str]:
    """Return a URL as it is written, because a signature in it must not change, and its host in lower case."""
    try:
        url = URL(text, encoded=True)
        return url, (url.host or "").lower()
    except ValueError:  # its text may quote the URL
        raise ValueError("is no URL") from None


def _plain(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for, else the address itself."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip
