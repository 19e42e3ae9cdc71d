"""The port to the stored rows of the books as they are, for verification. It corrects and hides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence, Set
from dataclasses import field
from typing import Generic, Protocol, TypeVar

from shared.domain.audit.hash_chain import Sealed
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Balance, Lane
from shared.domain.ledger.entries import LedgerEntry, Reservation
from shared.domain.ledger.operations import Transfer
from shared.domain.ledger.rollup import Rollup, RollupKey
from shared.domain.pricing.usage import Usage
from shared.domain.stored_fields import FieldValue
from shared.domain.values import record, value

T = TypeVar("T")


@record
class Place:
    """A place in the tables: a partition, one of its rows, or a property of a row."""

    table: str
    partition: str
    row: str = ""
    property_name: str = ""


@value
class Fault:
    """A row, or one of its properties, that is not as the gateway writes it."""

    place: Place
    message: str


@value
class Stored(Generic[T]):
    """A row: what it means, unless it cannot be read, and everything about its form that is wrong."""

    meaning: T | None
    faults: Sequence[Fault] = ()
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    """All properties of the row; empty if it cannot be read."""


@record
class StoredEntry:
    """The row of a ledger entry."""

    key: str
    entry: LedgerEntry | None
    """`None` if the row cannot be read as an entry."""
    sealed: Sealed
    """All properties of the row."""
    mistyped: Sequence[str]
    """Names of the properties that the service stores under another type than the gateway gives them."""
    mark: str
    """The key of the row `L` that was written with the entry; empty if there is none."""


@record
class LaneRows:
    """All rows of a lane but its balance and the entries up to the balance's last one."""

    holds: Mapping[str, Reservation]
    """Open reservations, by rid."""
    hold_commits: Mapping[str, str]
    """The ids of the commits that wrote them, by rid."""
    markers: Mapping[str, tuple[Amount, Usage]]
    """The charges of expired reservations without a late settlement, by rid."""
    transfers: Mapping[str, Transfer]
    """Sides of transfers, by transfer id."""
    marks: Set[str]
    """The keys of the rows `L`."""
    beyond: Sequence[str]
    """The keys of entries after the balance's last one."""
    rollups: Mapping[RollupKey, Rollup]
    watermark: int
    faults: Sequence[Fault]
    balance_version: int
    """The version of the balance right before the rows of the ledger were read; 0 if there is none."""

    @property
    def is_empty(self) -> bool:
        """There is no such row."""
        found = (self.holds, self.markers, self.transfers, self.marks, self.beyond, self.rollups, self.faults)
        return not any(found) and not self.watermark


class Books(Protocol):
    """The stored rows of all lanes. Nothing is changed. All methods raise `LedgerUnavailable`.

    A lane that is written meanwhile is read before or after each commit, row by row.
    """

    async def lanes(self, period: str, tenant_id: str | None = None) -> tuple[Mapping[Lane, bool], Sequence[Fault]]:
        """Return all lanes of a period that have a row anywhere, ascending, with whether the registry names them.

        Also returns the rows of the registry and the partitions whose names are none of a lane.
        """
        ...

    async def tenants_with(self, kind: str, period: str) -> Set[str]:
        """Return the tenants that have rows of another kind: `credentials`, or `responses` of a period."""
        ...

    async def balance(self, lane: Lane) -> Stored[Balance] | None:
        """Return the balance of a lane; `None` if it has none."""
        ...

    def entries(self, lane: Lane, first: int, last: int) -> AsyncIterator[StoredEntry]:
        """Yield the rows from entry `first` to entry `last`, ascending."""
        ...

    async def others(self, lane: Lane, last: int) -> LaneRows:
        """Return all rows of a lane but its balance and the entries 1 to `last`. Those of the ledger are read last."""
        ...

    async def watermark(self, lane: Lane) -> int:
        """Return the number of the last entry that is rolled up."""
        ...

    def entry_faults(self, lane: Lane, stored: StoredEntry) -> Sequence[Fault]:
        """Return everything that is wrong in the form of an entry's row."""
        ...

    def place(self, lane: Lane, row: str = "", property_name: str = "") -> Place:
        """Return the place of a lane in the ledger's tables, or of one of its rows. Row `W` is among its rollups."""
        ...

    def registry_place(self, lane: Lane) -> Place:
        """Return the place of a lane's row in the registry."""
        ...

    def entry_key(self, seq: int) -> str:
        """Return the key of an entry's row."""
        ...

    def genesis(self, lane: Lane) -> str:
        """Return the head of a lane's hash chain before its first entry."""
        ...
