"""The places that a tenant may hold, when the number of places changes meanwhile."""

from __future__ import annotations

from shared.application.routing.tenant_shares import TenantShares


def test_a_tenant_that_holds_more_than_its_part_of_fewer_places_gets_no_more() -> None:
    shares = TenantShares(0.9)
    returns = [shares.hold("acme", "a", 10) for _ in range(4)] + [shares.hold("acme", "a", 5)]
    assert shares.full == {"acme": {"a"}}
    returns.pop()()
    assert shares.full == {"acme": {"a"}}  # it holds 4 of 5
    returns.pop()()
    assert shares.full == {}
    returns.append(shares.hold("acme", "a", 5))
    assert shares.full == {"acme": {"a"}}
    for give_back in returns:
        give_back()
    assert shares.full == {}


def test_a_tenant_gets_its_part_of_more_places() -> None:
    shares = TenantShares(0.5)
    returns = [shares.hold("acme", "a", 2)]
    returns += [shares.hold("globex", "a", 10) for _ in range(2)]
    assert shares.full == {"acme": {"a"}}
    returns.append(shares.hold("acme", "a", 10))
    returns.pop()()
    assert shares.full == {}
