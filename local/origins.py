"""Tell requests of this machine from those that a page of another site makes through the browser of its user."""

from __future__ import annotations

from urllib.parse import urlsplit

_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


def is_foreign(host: str, origin: str | None) -> bool:
    """True if `Host` is no name of this machine (DNS rebinding), or `Origin` is not the server itself.

    A browser sends `Origin` with every request that can change something. Other programs send none.
    """
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return True
    return name not in _LOOPBACK_NAMES or origin not in (None, f"http://{host}")
