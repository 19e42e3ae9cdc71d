"""How a tenant's limit is spread over lanes: who gives how much room to whom. Pure; the ledger makes it durable.

Room is what a lane could still reserve. It moves in both units at once, and only in those that have a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Balance, LaneState

VAULT = 0
MAX_LANES = 64
_PART_OF_ROOM = 8
"""A pull takes at least an eighth of the donor's room (12.5%), so that pulls grow rare."""
_SPREAD_AT_OPENING = 2
"""Half of the limit is spread over the lanes as they open."""


def lane_limit(tenant: Limit) -> Limit:
    """The limit of every lane but the vault: nothing of its own where the tenant has a limit, else none."""
    return Limit(None if tenant.tokens is None else 0, None if tenant.pusd is None else 0)


def available(balance: Balance) -> Amount:
    """What a lane can give away; nothing in a unit without a limit, or while it is not open."""
    if balance.state is not LaneState.OPEN:
        return Amount()
    return Amount(balance.available_tokens or 0, balance.available_pusd or 0)


def shortage(balance: Balance, amount: Amount) -> Amount:
    """What a lane lacks to reserve `amount`."""
    limit, needed = balance.limit, balance.used + balance.reserved + amount
    return Amount(
        0 if limit.tokens is None else max(0, needed.tokens - limit.tokens - balance.transferred.tokens),
        0 if limit.pusd is None else max(0, needed.pusd - limit.pusd - balance.transferred.pusd),
    )


def first_share(vault: Balance, lanes: int) -> Amount:
    """What a lane takes from the vault when it opens."""
    parts = _SPREAD_AT_OPENING * lanes
    return Amount((vault.limit.tokens or 0) // parts, (vault.limit.pusd or 0) // parts)


def plan_pulls(need: Amount, share: Amount, donors: Mapping[int, Amount]) -> list[tuple[int, Amount]]:
    """Which donors give how much so that `need` is covered: one if one can, the vault first; else all that they have.

    `donors` tells each lane's room; `share` is what to take from the vault if it has that much. Nothing is taken where
    nothing is needed, or where all of it together would not be enough.
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
    """A tenant's lanes, vault first, as one balance: what reports show and what a refusal is told."""
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
    """The largest of what is needed and what is worth taking, but no more than there is."""
    return Amount(
        min(has.tokens, max(need.tokens, share.tokens, part.tokens)),
        min(has.pusd, max(need.pusd, share.pusd, part.pusd)),
    )


def _sum(amounts: Iterable[Amount]) -> Amount:
    return sum(amounts, Amount())
