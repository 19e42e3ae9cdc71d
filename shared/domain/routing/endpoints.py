"""Addresses of backends: plain URLs on hosts that the operator allows, which every reader reads alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from shared.domain.errors import InvalidRequest

LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ENDPOINT: Final = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_LABEL}(?:\.{_LABEL})*|\[::1\])(?P<port>:[1-9][0-9]{{0,4}})?"
    r"(?P<path>(?:/[a-z0-9._~-]+)*)/?",
    re.IGNORECASE | re.ASCII,
)
_SUFFIX: Final = re.compile(rf"(?:\.{_LABEL})*\.[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?", re.IGNORECASE | re.ASCII)
_MAX_PORT: Final = 65_535


def check_endpoint(endpoint: str, host_suffixes: Iterable[str], *, allow_loopback: bool) -> None:
    """Raise `InvalidRequest` if a URL is not plain, or its host is not allowed.

    Only letters, digits, hyphens, dots, `_` and `~` are allowed between the separators. So there is no user, query,
    fragment, escape, backslash, control or non-ASCII character, at which two readers of URLs could disagree.
    """
    found = _ENDPOINT.fullmatch(endpoint)
    if found is None or int((found["port"] or ":1")[1:]) > _MAX_PORT or {".", ".."} & {*found["path"].split("/")}:
        raise InvalidRequest(
            "'endpoint' must be a plain URL: scheme, host, and at most a port and a path of ASCII letters and digits.",
            "endpoint",
        )
    scheme, host, suffixes = found["scheme"].lower(), found["host"].lower(), tuple(map(str.lower, host_suffixes))
    if allow_loopback and host in LOOPBACK_HOSTS:
        return
    if scheme != "https" or not host.endswith(suffixes):
        raise InvalidRequest(
            f"'endpoint' must be https and its host must end with one of: {', '.join(suffixes)}.", "endpoint"
        )


def is_host_suffix(text: str) -> bool:
    """Tell whether a text can limit hosts: it begins with a dot, and ends in a name and not in an address."""
    return _SUFFIX.fullmatch(text) is not None
