"""Ports to the ledger and its rollups."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account, Balance, Lane
from shared.domain.ledger.entries import LedgerEntry, Outcome, Reservation
from shared.domain.ledger.grants import Granted
from shared.domain.ledger.rollup import Rollup, RollupKey
from shared.domain.rate_limit import RateLimits
from shared.domain.values import value


@value
class Hold:
    """A held reservation, with the balance and the rate limits of its lane."""

    reservation: Reservation
    balance: Balance
    rate_limits: RateLimits


class CommitWatch(Protocol):
    """Is told of each commit that was sent. It neither waits nor raises."""

    def __call__(self, tenant_id: str, seconds: float, result: str) -> None:
        """`result` is `committed`, `conflict`, `rejected`, or `unknown` if the answer was lost."""
        ...


class Ledger(Protocol):
    """The books of all tenants. Invariants and rows: docs/reference/ledger.md.

    Each method is one atomic operation on a lane unless it states otherwise. All methods raise `LedgerUnavailable` if
    storage cannot be reached. Amounts are tokens and pUSD.
    """

    async def open(self, account: Account) -> Balance:
        """Open the account's vault under its limit, unless it is open already. Idempotent."""
        ...

    async def reserve(self, account: Account, reservation: Reservation) -> Hold:
        """Hold `reservation.amount`. Opens the vault first if necessary.

        - The reservation of the returned hold must be settled: its lane may differ from the one that was passed.
        - If the account has several lanes, this process holds in its own, and fetches what it lacks from the others.
        - If the caller is cancelled or storage fails, a hold that was committed all the same is voided later.
        - Raises `QuotaExceeded`, `BudgetExceeded`, `RateLimitExceeded` or `PeriodNotOpen`; then nothing is held.
        """
        ...

    async def ask(self, account: Account) -> None:
        """Ask whether the smallest request would be admitted now. Holds nothing and counts as no request.

        - Never refuses if the account has several lanes, because each knows only its part.
        - Raises `QuotaExceeded`, `RateLimitExceeded` or `PeriodNotOpen`.
        """
        ...

    async def settle(self, reservation: Reservation, outcome: Outcome) -> Balance:
        """Resolve a reservation: charge the consumption, or void it. Idempotent by `rid`.

        - If the reservation has expired, the difference to the charge at expiry is booked as a late entry.
        - If its period has closed, that difference is booked as an adjust entry in the current period.
        - After `LedgerUnavailable` the settlement is not lost: this process retries it as long as it lives.
        """
        ...

    async def expire(self, reservation: Reservation, outcome: Outcome) -> Balance:
        """Resolve a reservation past its deadline. Idempotent: does nothing if it is resolved."""
        ...

    async def change_limit(self, account: Account, actor: str, reason: str) -> Balance:
        """Set the period's quota and budget to `account.limit`, by an entry. Grants are added to them.

        Idempotent: a limit that is right by now gets no entry.
        Raises `PeriodNotOpen` if the period is closed. The vault changes atomically; other lanes follow.
        """
        ...

    async def grant(self, account: Account, grant_id: str, amount: Amount, actor: str, reason: str) -> Limit:
        """Raise the period's limit by `amount`, by an entry. Opens the period if necessary. Idempotent by `grant_id`.

        Returns the limit right after the grant, also for a grant that was made before. Raises `AlreadyExists` if the id
        was granted with another amount, `InvalidRequest` for a unit without a limit, and `PeriodNotOpen` if the period
        is closed.
        """
        ...

    async def granted(self, account: Account, grant_id: str) -> Granted | None:
        """Return a grant of the account's period; `None` if its id was not granted in it."""
        ...

    async def level_lanes(self, account: Account) -> int:
        """Complete the transfers between a tenant's lanes that a process left half done when it died.

        Returns the number of transfers that it completed. Idempotent. Not atomic: each lane is one commit.
        """
        ...

    async def begin_closing(self, account: Account) -> None:
        """Admit no further reservation in any lane of the account's period. Idempotent. Not atomic over lanes."""
        ...

    async def close(self, account: Account) -> None:
        """Write the `close` entry of every lane, the vault's last. Idempotent. Not atomic over lanes.

        Raises `ReservationsOpen` while any reservation is open.
        """
        ...

    async def balance(self, lane: Lane) -> Balance | None:
        """Return a lane's balance as stored now; `None` if the lane was never opened."""
        ...

    async def balances(self, tenant_id: str, period: str) -> dict[Lane, Balance]:
        """Return the balances of all lanes of a tenant's period, vault first; empty if it was never opened.

        Each balance is read on its own, so transfers between lanes may be seen on one side only.
        """
        ...

    def entries(self, lane: Lane, first: int, last: int) -> AsyncIterator[LedgerEntry]:
        """Yield the entries numbered `first` to `last`, ascending."""
        ...

    def reservations(self, lane: Lane) -> AsyncIterator[Reservation]:
        """Yield the open reservations of a lane."""
        ...

    def lanes(self, period: str, tenant_id: str | None = None) -> AsyncIterator[Lane]:
        """Yield each lane that was ever opened in a period, or those of one tenant, ascending."""
        ...

    def periods(self) -> AsyncIterator[BillingPeriod]:
        """Yield each period in which a lane was ever opened, ascending."""
        ...

    def genesis(self, lane: Lane) -> str:
        """Return the head of a lane's hash chain before its first entry."""
        ...

    async def drain(self) -> None:
        """Wait until all accepted operations are committed."""
        ...


@value
class Watermark:
    """The number of the last entry that is rolled up, and the ETag of the row that stores it."""

    seq: int
    etag: str


class RollupStore(Protocol):
    """The rollups of each lane's entries. All methods raise `LedgerUnavailable`."""

    async def watermark(self, lane: Lane) -> Watermark:
        """Return the watermark of a lane; its number is 0 if the lane was never rolled up."""
        ...

    def rows(self, lane: Lane) -> AsyncIterator[tuple[RollupKey, Rollup]]:
        """Yield each rollup of a lane."""
        ...

    async def advance(self, lane: Lane, since: Watermark, seq: int, added: Mapping[RollupKey, Rollup]) -> bool:
        """Add at most 99 sums, and move the watermark from `since` to `seq`. Atomic.

        - Returns `False` if the watermark is no longer `since`; then nothing has changed.
        - After `LedgerUnavailable` it is unknown if they were added: read the watermark before another try.
        """
        ...
