"""Read all rows of a lane but its balance and its entries, for verification, each by its kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shared.adapters.tables.rollups import WATERMARK_KEY, rollup_from, rollup_row_key
from shared.adapters.tables.row_forms import (
    EMPTY_FORM,
    MARKER_FORM,
    RESERVATION_FORM,
    ROLLUP_FORM,
    TRANSFER_FORM,
    WATERMARK_FORM,
    Form,
    read_row,
)
from shared.adapters.tables.rows import BALANCE_KEY, charged_from, reservation_from, transfer_from
from shared.adapters.tables.store import InspectedRow
from shared.application.ports.books import Fault, LaneRows, Place
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import Reservation
from shared.domain.ledger.operations import Transfer
from shared.domain.ledger.rollup import Rollup, RollupKey
from shared.domain.pricing.usage import Usage
from shared.domain.stored_fields import Fields


@dataclass(slots=True, kw_only=True)
class LaneRowsReader:
    """Sorts rows by their kind, and collects the faults of their form."""

    lane: Lane
    table: str
    rollup_table: str
    partition: str
    holds: dict[str, Reservation] = field(default_factory=dict)
    hold_commits: dict[str, str] = field(default_factory=dict)
    markers: dict[str, tuple[Amount, Usage]] = field(default_factory=dict)
    transfers: dict[str, Transfer] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)
    beyond: list[str] = field(default_factory=list)
    rollups: dict[RollupKey, Rollup] = field(default_factory=dict)
    watermark: int = 0
    faults: list[Fault] = field(default_factory=list)
    balance_version: int = 0

    def add(self, row: InspectedRow) -> None:
        """Add a row of the ledger's table."""
        kind, _, name = row.key.partition("|")
        if kind == "P":
            hold = self._read(row, RESERVATION_FORM, lambda fields: reservation_from(self.lane, row.key, fields))
            _keep(self.holds, name, hold)
            self.hold_commits[name] = str(row.fields.get("commit_id", ""))
        elif kind == "X":
            _keep(self.markers, name, self._read(row, MARKER_FORM, charged_from))
        elif kind == "G":
            _keep(self.transfers, name, self._read(row, TRANSFER_FORM, lambda fields: transfer_from(row.key, fields)))
        elif kind == "L":
            self._read(row, EMPTY_FORM, len)
            self.marks.add(row.key)
        elif kind == "E":
            self.beyond.append(row.key)
        elif row.key == BALANCE_KEY:
            version = row.fields.get("version")
            self.balance_version = version if isinstance(version, int) else 0
        else:
            self._reject(self.table, row)

    def add_rollup(self, row: InspectedRow) -> None:
        """Add a row of the rollups' table."""
        if row.key == WATERMARK_KEY:
            read = self._read(row, WATERMARK_FORM, lambda fields: int(fields["seq"]), self.rollup_table)
            self.watermark = read or 0
        elif row.key.startswith("R|"):
            rollup = self._read(row, ROLLUP_FORM, rollup_from, self.rollup_table)
            if rollup is not None and rollup_row_key(rollup[0]) == row.key:
                self.rollups[rollup[0]] = rollup[1]
            else:
                self._reject(self.rollup_table, row)
        else:
            self._reject(self.rollup_table, row)

    def result(self) -> LaneRows:
        """Return all rows that were added."""
        return LaneRows(
            holds=self.holds,
            hold_commits=self.hold_commits,
            markers=self.markers,
            transfers=self.transfers,
            marks=self.marks,
            beyond=self.beyond,
            rollups=self.rollups,
            watermark=self.watermark,
            faults=self.faults,
            balance_version=self.balance_version,
        )

    def _read(self, row: InspectedRow, form: Form, read: Callable[[Fields], Any], table: str = "") -> Any:
        stored = read_row(table or self.table, self.partition, row, form, read)
        self.faults += stored.faults
        return stored.meaning

    def _reject(self, table: str, row: InspectedRow) -> None:
        place = Place(table=table, partition=self.partition, row=row.key)
        self.faults.append(Fault(place, "the gateway writes no such row"))


def _keep(rows: dict[str, Any], name: str, meaning: object) -> None:
    if meaning is not None:
        rows[name] = meaning
