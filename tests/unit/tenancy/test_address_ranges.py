"""Ranges of addresses have one form, and an address is in them or not."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.tenancy.address_ranges import is_within, normalised_range


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("203.0.113.7", "203.0.113.7/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("::FFFF:cb00:7107", "203.0.113.7/32"),
        ("::/0", "::/0"),
    ],
)
def test_a_range_has_one_form(sent: str, stored: str) -> None:
    assert normalised_range(sent) == stored
    assert normalised_range(stored) == stored


@pytest.mark.parametrize(
    "sent",
    [
        "", "x", "example.com", "203.0.113.7/24", "203.0.113.0/33", "203.0.113.0/-1", "203.0.113.0/255.255.255.0",
        "203.0.113.0/0.0.0.255", "203.0.113", "0203.0.113.7", "203.0.113.0/ 24", " 203.0.113.7", "203.0.113.7\n",
        "\u0662\u0660\u0663.0.113.7", "fe80::1%eth0", "[2001:db8::1]", "2001:db8::1/32", "203.0.113.7:443", "1/2/3",
    ],
)  # fmt: skip
def test_what_is_no_range_is_refused(sent: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        normalised_range(sent)


@pytest.mark.parametrize(
    ("address", "is_in"),
    [
        ("203.0.113.0", True),
        ("203.0.113.255", True),
        ("203.0.112.255", False),
        ("203.0.114.0", False),
        ("2001:db8::", True),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", True),
        ("2001:db9::", False),
        ("::cb00:7100", False),  # the number of an IPv4 address is not that address
        ("", False),
    ],
)
def test_an_address_is_within_ranges_or_not(address: str, is_in: bool) -> None:
    assert is_within(("203.0.113.0/24", "2001:db8::/32"), address) == is_in
    assert not is_within((), address)


NETWORKS = st.one_of(
    st.builds(
        lambda number, prefix: IPv4Network((number, prefix), strict=False),
        st.integers(0, 2**32 - 1),
        st.integers(0, 32),
    ),
    st.builds(
        lambda number, prefix: IPv6Network((number, prefix), strict=False),
        st.integers(0, 2**128 - 1),
        st.integers(0, 128),
    ),
)


@given(st.lists(NETWORKS, max_size=4), st.data())
def test_an_address_is_within_ranges_as_the_standard_library_has_it(
    networks: list[IPv4Network | IPv6Network], data: st.DataObject
) -> None:
    edges = [address for each in networks for address in (each[0], each[-1])]
    anywhere = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
    near = st.sampled_from(edges).flatmap(lambda edge: st.sampled_from(neighbours(str(edge)))) if edges else anywhere
    address = data.draw(st.one_of(near.map(str), anywhere.map(str)))
    expected = any(ip_address(address) in each for each in networks)
    assert is_within(tuple(map(str, networks)), address) == expected


def neighbours(address: str) -> list[str]:
    """Return an address and those beside it."""
    found = ip_address(address)
    last = 2**found.max_prefixlen - 1
    return [str(type(found)(number)) for number in (int(found) - 1, int(found), int(found) + 1) if 0 <= number <= last]


@given(NETWORKS)
def test_a_network_is_stored_as_the_standard_library_writes_it(network: IPv4Network | IPv6Network) -> None:
    stored = normalised_range(str(network))
    assert normalised_range(stored) == stored
    if isinstance(network, IPv4Network) or not network.subnet_of(IPv6Network("::ffff:0:0/96")):
        assert ip_network(stored) == network
