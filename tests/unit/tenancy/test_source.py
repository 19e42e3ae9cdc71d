"""The source of a request cannot be forged by its caller."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from shared.http.source import source_of

FORGED = "6.6.6.6"


def request(*forwarded: str, peer: str | None = "127.0.0.1") -> Request:
    headers = [(b"x-forwarded-for", text.encode("latin-1")) for text in forwarded]
    return Request({"type": "http", "headers": headers, "client": peer and (peer, 1)})


@pytest.mark.parametrize(
    ("hops", "forwarded", "source"),
    [
        (1, ["203.0.113.7"], "203.0.113.7"),
        (1, [f"{FORGED}, 203.0.113.7:51234"], "203.0.113.7"),
        (1, [FORGED, "203.0.113.7:51234"], "203.0.113.7"),
        (1, [f"{FORGED},{FORGED}", " 203.0.113.7 "], "203.0.113.7"),
        (2, [f"{FORGED}, 203.0.113.7, 10.0.0.1:80"], "203.0.113.7"),
        (1, [f"{FORGED}, 2001:DB8:0:0::1"], "2001:db8::1"),
        (1, [f"{FORGED}, [2001:db8::1]:443"], "2001:db8::1"),
        (1, [f"{FORGED}, [2001:db8::1]"], "2001:db8::1"),
        (1, [f"{FORGED}, fe80::1%eth0"], "fe80::1"),
        (1, [f"{FORGED}, ::ffff:203.0.113.7"], "203.0.113.7"),
        (1, [f"{FORGED}, unknown"], ""),
        (1, [f"{FORGED}, _hidden"], ""),
        (1, [f"{FORGED},"], ""),
        (1, [f"{FORGED}, [2001:db8::1"], "2001:db8::1"),
        (1, [f"{FORGED}, " + "9" * 60_000], ""),
        (1, [f"{FORGED}, \u00b2.1.1.1"], ""),
        (1, [], ""),
        (2, ["203.0.113.7"], ""),
        (0, [], "127.0.0.1"),
        (0, [FORGED], "127.0.0.1"),
    ],
)
def test_the_source_is_counted_from_the_right(hops: int, forwarded: list[str], source: str) -> None:
    assert source_of(request(*forwarded), hops) == source


@pytest.mark.parametrize("forwarded", [FORGED, f"{FORGED}:80, 127.0.0.1"])
def test_without_proxies_a_peer_that_the_server_took_from_the_header_is_unknown(forwarded: str) -> None:
    assert source_of(request(forwarded, peer=FORGED), 0) == ""


@pytest.mark.parametrize("peer", [None, "/run/gateway.sock"])
def test_a_peer_without_an_address_is_unknown(peer: str | None) -> None:
    assert source_of(request(peer=peer), 0) == ""
