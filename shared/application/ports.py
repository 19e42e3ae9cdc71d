"""What the application needs of the world. Every method is one atomic operation; adapters implement them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from shared.domain.audit import AuditEvent
from shared.domain.ledger import Account, Amount, Balance, Lane, LedgerEntry, Outcome, Reservation
from shared.domain.pricing import Price
from shared.domain.rate_limit import RateLimits
from shared.domain.responses import StoredResponse
from shared.domain.rollup import Rollup, RollupKey
from shared.domain.routing import Backend, Catalog, Deployment
from shared.domain.tenancy import GatewayKey, Tenant
from shared.domain.values import value

T = TypeVar("T")


class Clock(Protocol):
    """Time, as far as the gateway decides by it."""

    def now(self) -> datetime:
        """The current time in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


@value
class Hold:
    """A reservation that is held, in the lane that it names, and that lane's balance and limits a minute."""

    reservation: Reservation
    balance: Balance
    rates: RateLimits


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


@value
class Versioned(Generic[T]):
    """A stored object and the ETag of the version that was read."""

    value: T
    etag: str


class TenantDirectory(Protocol):
    """Tenants by id. Raises `StorageUnavailable`."""

    async def get(self, tenant_id: str) -> Versioned[Tenant] | None:
        """The tenant, whatever its state."""
        ...

    async def insert(self, tenant: Tenant) -> Versioned[Tenant]:
        """Register a tenant; `AlreadyExists` if the id is taken."""
        ...

    async def replace(self, tenant: Tenant, etag: str) -> Versioned[Tenant]:
        """Replace the version named by `etag` (`*` for any); `VersionConflict` if it is not current."""
        ...

    async def list(self, limit: int, cursor: str | None) -> tuple[list[Versioned[Tenant]], str | None]:
        """At most `limit` tenants by id after `cursor`, and the cursor of the next page."""
        ...


class KeyDirectory(Protocol):
    """Gateway keys by tenant and key id. Raises `StorageUnavailable`."""

    async def get(self, tenant_id: str, key_id: str) -> GatewayKey | None:
        """The key, in force or not."""
        ...

    async def insert(self, key: GatewayKey) -> None:
        """Add a key."""
        ...

    async def replace(self, key: GatewayKey) -> None:
        """Overwrite a key that exists."""
        ...

    async def list(self, tenant_id: str) -> Sequence[GatewayKey]:
        """Every key of a tenant."""
        ...


class CatalogStore(Protocol):
    """Backends and deployments. Raises `StorageUnavailable`."""

    async def load(self) -> Catalog:
        """Everything that is configured."""
        ...

    async def put_backend(self, backend: Backend) -> None:
        """Insert or replace."""
        ...

    async def remove_backend(self, backend_id: str) -> None:
        """Forget a backend; harmless if it is unknown."""
        ...

    async def put_deployment(self, deployment: Deployment) -> None:
        """Insert or replace."""
        ...


@value
class Hint:
    """What one process found out of a backend: that it is down until a moment, or, if that has passed, up again."""

    backend_id: str
    instance: str
    noted_at: datetime
    down_until: datetime
    reason: str


class HintStore(Protocol):
    """The latest hint of each backend. Raises `StorageUnavailable`."""

    async def load(self) -> Sequence[Hint]:
        """Every hint."""
        ...

    async def put(self, hint: Hint) -> None:
        """Insert or replace."""
        ...


class PriceStore(Protocol):
    """The insert-only price book. Raises `StorageUnavailable`."""

    async def load(self) -> Sequence[Price]:
        """Every row."""
        ...

    async def insert(self, price: Price) -> None:
        """Add a row; inserting the identical row again changes nothing."""
        ...


class AuditLog(Protocol):
    """Administrative acts. Raises `StorageUnavailable`."""

    async def record(self, event: AuditEvent) -> None:
        """Append an event."""
        ...


class ResponseDirectory(Protocol):
    """Responses that upstream keeps, by owner. Raises `StorageUnavailable`."""

    async def get(self, tenant_id: str, response_id: str) -> StoredResponse | None:
        """A tenant's response; `None` if it is another's."""
        ...

    async def put(self, stored: StoredResponse) -> None:
        """Insert or replace."""
        ...

    async def remove(self, tenant_id: str, response_id: str) -> None:
        """Forget a response; harmless if it is unknown."""
        ...

    async def defer(self, response_id: str, reservation: Reservation) -> None:
        """Note that upstream still works on it, and what is to be settled then; idempotent."""
        ...

    def deferred(self) -> AsyncIterator[tuple[str, Reservation]]:
        """Every response that is noted so."""
        ...

    async def resolve(self, response_id: str) -> None:
        """Take the note away; harmless if there is none."""
        ...


class ReportStore(Protocol):
    """Files of a closed period. Raises `StorageUnavailable`."""

    async def write_once(self, path: str, content: bytes) -> None:
        """Write a file that does not exist; an existing one with the same content is left as it is.

        Raises `AlreadyExists` if a file with other content is there.
        """
        ...

    async def read(self, path: str) -> bytes | None:
        """The file's content, or `None`."""
        ...


class Tokenizer(Protocol):
    """Counts tokens."""

    def count(self, text: str, model: str) -> int:
        """Tokens of `text` under the vocabulary of `model`."""
        ...


class UpstreamResponse(Protocol):
    """An answer whose head has arrived and whose body has not been read. Names of headers are in lower case."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]

    async def read(self) -> bytes:
        """The whole body. Raises `BackendBroken` or `BackendTimeout`."""
        ...

    async def pass_on(self, take: Callable[[bytes], Awaitable[None] | None]) -> None:
        """Give each part of the body to `take` as it arrives, and await what that returns before the next is read.

        Returns at the end of the body. After a cancellation it may be called again and goes on where it stopped.
        Raises `BackendBroken` or `BackendTimeout`.
        """
        ...

    def close(self) -> None:
        """Drop the connection if the body was not read to its end."""
        ...


class Upstream(Protocol):
    """Forwards a request to a backend."""

    async def send(
        self,
        backend: Backend,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        head_seconds: float | None = None,
    ) -> UpstreamResponse:
        """Send and return when the response's head is there, for which at most `head_seconds` are waited.

        `path` follows the backend's endpoint, query included. Raises `BackendUnavailable` if the request provably was
        not processed, `BackendTimeout` or `BackendBroken` if it may have been.
        """
        ...


class BackendProbe(Protocol):
    """Asks a backend whether it is reachable and accepts the gateway's identity."""

    async def reachable(self, backend: Backend) -> bool:
        """Whether the backend answers."""
        ...
