"""Ports to the ledger and its rollups."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Account, Balance, Lane
from shared.domain.ledger.entries import LedgerEntry, Outcome, Reservation
from shared.domain.ledger.rollup import Rollup, RollupKey
from shared.domain.rate_limit import RateLimits
from shared.domain.values import value


@value
class Hold:
    """A reservation that is held, in the lane that it names, and that lane's balance and limits a minute."""

    reservation: Reservation
    balance: Balance
    rate_limits: RateLimits


class Ledger(Protocol):
    """The books. All methods raise `LedgerUnavailable` when storage cannot be reached."""

    async def open(self, account: Account) -> Balance:
        """Open the account's vault if it is not open yet (insert-if-absent); idempotent."""
        ...

    async def reserve(self, account: Account, reservation: Reservation) -> Hold:
        """Hold `reservation.amount`, opening the balance first if need be; what is settled is the hold's reservation.

        An account with several lanes is held in this process's own, and room is fetched from the others.
        Raises `QuotaExceeded`, `BudgetExceeded` or `PeriodNotOpen`. If the caller is cancelled, or storage fails,
        a hold that was committed all the same is voided as soon as that is known.
        """
        ...

    async def settle(self, reservation: Reservation, outcome: Outcome) -> Balance:
        """Resolve a reservation with what was consumed (charge) or with nothing (void).

        Idempotent by `rid`. If the reservation has expired meanwhile, the difference is charged (late entry); if its
        period has closed, in the period of now (adjust entry). After
        `LedgerUnavailable` the settlement is not lost: it is retried for as long as this process lives.
        """
        ...

    async def expire(self, reservation: Reservation, outcome: Outcome) -> Balance:
        """Resolve a reservation past its deadline; does nothing if it is resolved already."""
        ...

    async def change_limit(self, account: Account, actor: str, reason: str) -> Balance:
        """Make `account.limit` the period's quota and budget, by an entry; what was granted comes on top.

        Raises `PeriodNotOpen` if the period is closed.
        """
        ...

    async def grant(self, account: Account, grant_id: str, amount: Amount, actor: str, reason: str) -> Balance:
        """Raise the period's limit by an entry, once for each id; opens the period if need be.

        Raises `InvalidRequest` for a unit without a limit, `PeriodNotOpen` if the period is closed.
        """
        ...

    async def level_lanes(self, account: Account) -> int:
        """Complete what a dead process left between the lanes of a tenant; returns how many transfers were lost."""
        ...

    async def begin_closing(self, account: Account) -> None:
        """Admit no further reservation in any lane of this period; idempotent."""
        ...

    async def close(self, account: Account) -> None:
        """Write the `close` entry of every lane, the vault's last; idempotent.

        Raises `ReservationsOpen` while any reservation is open.
        """
        ...

    async def balance(self, lane: Lane) -> Balance | None:
        """The balance as stored now, or `None` if it was never opened."""
        ...

    async def balances(self, tenant_id: str, period: str) -> dict[Lane, Balance]:
        """The balances of all lanes of a tenant's period, vault first; empty if it was never opened."""
        ...

    def entries(self, lane: Lane, first: int, last: int) -> AsyncIterator[LedgerEntry]:
        """The entries numbered `first` to `last`, ascending."""
        ...

    def reservations(self, lane: Lane) -> AsyncIterator[Reservation]:
        """The open reservations."""
        ...

    def lanes(self, period: str, tenant_id: str | None = None) -> AsyncIterator[Lane]:
        """Every lane that was ever opened in a period (the registry), ascending; or those of one tenant."""
        ...

    def genesis(self, lane: Lane) -> str:
        """The chain head before the first entry."""
        ...

    async def drain(self) -> None:
        """Return when nothing that was accepted waits to be committed."""
        ...


@value
class Watermark:
    """The number of the last entry that is rolled up, and the version of the row that says so."""

    seq: int
    etag: str


class RollupStore(Protocol):
    """Sums of a lane's entries by day, deployment, user and model. All methods raise `LedgerUnavailable`."""

    async def watermark(self, lane: Lane) -> Watermark:
        """How far a lane is rolled up; 0 where it never was."""
        ...

    def rows(self, lane: Lane) -> AsyncIterator[tuple[RollupKey, Rollup]]:
        """Every rollup of a lane."""
        ...

    async def advance(self, lane: Lane, since: Watermark, seq: int, added: Mapping[RollupKey, Rollup]) -> bool:
        """Add at most 99 sums and move the watermark from `since` to `seq`, all or nothing.

        `False` if the watermark is no longer `since`. After `LedgerUnavailable` read it to learn what happened.
        """
        ...
