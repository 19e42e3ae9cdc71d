"""Spread a tenant's limit over its lanes: decide which lane transfers how much to which.

This module is pure; the ledger makes transfers durable. Only an amount that is available, which a lane could still
reserve, is transferred. A transfer moves both units at once, but only units that have a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Balance, LaneState

VAULT = 0
MAX_LANES = 64
_PART_OF_ROOM = 8
"""A pull takes at least an eighth of the amount that the donor has available, so that pulls become rare."""
_SPREAD_AT_OPENING = 2
"""Lanes take half of the limit when they open; the vault keeps the other half."""


def lane_limit(tenant: Limit) -> Limit:
    """Return the limit of every lane but the vault: 0 in units where the tenant has a limit, else none."""
    return Limit(None if tenant.tokens is None else 0, None if tenant.pusd is None else 0)


def available(balance: Balance) -> Amount:
    """Return the amount that a lane can transfer: 0 in units without a limit, and 0 unless the lane is open."""
    if balance.state is not LaneState.OPEN:
        return Amount()
    return Amount(balance.available_tokens or 0, balance.available_pusd or 0)


def shortage(balance: Balance, amount: Amount) -> Amount:
    """Return the amount that a lane lacks to reserve `amount`."""
    limit, needed = balance.limit, balance.used + balance.reserved + amount
    return Amount(
        0 if limit.tokens is None else max(0, needed.tokens - limit.tokens - balance.transferred.tokens),
        0 if limit.pusd is None else max(0, needed.pusd - limit.pusd - balance.transferred.pusd),
    )


def first_share(vault: Balance, lanes: int) -> Amount:
    """Return the amount that a lane takes from the vault when it opens."""
    parts = _SPREAD_AT_OPENING * lanes
    return Amount((vault.limit.tokens or 0) // parts, (vault.limit.pusd or 0) // parts)


def plan_pulls(need: Amount, share: Amount, donors: Mapping[int, Amount]) -> list[tuple[int, Amount]]:
    """Choose the donors that cover `need`, and the amount that each transfers.

    - `donors` gives the available amount of each lane; `share` is the amount to take from the vault if it has it.
    - If one donor can cover the need alone, it does. The vault comes first, then the donor with most available.
    - Otherwise donors give all that they have until the need is covered.
    - Returns an empty list if nothing is needed, or if all donors together have too little.
    """
    if need == Amount():
        return []
    for donor in sorted(donors, key=lambda number: (number != VAULT, -donors[number].tokens, -donors[number].pusd)):
        has = donors[donor]
        if need.excess_over(has) == Amount():
            wanted = share if donor == VAULT else Amount()
            return [(donor, _most(need, wanted, Amount(has.tokens // _PART_OF_ROOM, has.pusd // _PART_OF_ROOM), has))]
    if need.excess_over(_sum(donors.values())) != Amount():
        return []
    return _crumbs(need, sorted(donors.items(), key=lambda each: (-each[1].tokens, -each[1].pusd)))


def combined(balances: Sequence[Balance]) -> Balance:
    """Combine the balances of a tenant's lanes, vault first, into one for reports and refusals."""
    total = balances[0].copy()
    total.used = _sum(each.used for each in balances)
    total.reserved = _sum(each.reserved for each in balances)
    total.excess = _sum(each.excess for each in balances)
    total.open_reservations = sum(each.open_reservations for each in balances)
    total.seq = sum(each.seq for each in balances)
    total.transferred = Amount()
    return total


def _crumbs(need: Amount, donors: Iterable[tuple[int, Amount]]) -> list[tuple[int, Amount]]:
    taken: list[tuple[int, Amount]] = []
    for donor, has in donors:
        part = Amount(min(has.tokens, need.tokens), min(has.pusd, need.pusd))
        if part != Amount():
            taken.append((donor, part))
            need -= part
    return taken


def _most(need: Amount, share: Amount, part: Amount, has: Amount) -> Amount:
    """Return the largest of `need`, `share` and `part`, but at most `has`."""
    return Amount(
        min(has.tokens, max(need.tokens, share.tokens, part.tokens)),
        min(has.pusd, max(need.pusd, share.pusd, part.pusd)),
    )


def _sum(amounts: Iterable[Amount]) -> Amount:
    return sum(amounts, Amount())
