"""The ledger's objects as table rows, written and read back. docs/reference/ledger.md lists the keys.

To add an entry field, declare it in the domain object with `stored`. Its type in the table follows from that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from shared.adapters.tables.store import Delete, Insert, RowChange
from shared.domain.errors import RowsDamaged
from shared.domain.identifiers import TENANT_ID
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import BALANCE, Balance, Lane
from shared.domain.ledger.changes import (
    Change,
    DeleteMarker,
    DeleteReservation,
    InsertEntry,
    InsertGrantMark,
    InsertLateMark,
    InsertMarker,
    InsertReservation,
)
from shared.domain.ledger.entries import ENTRY_FIELDS, RESERVATION, USAGE, EntryKind, LedgerEntry, Reservation
from shared.domain.ledger.operations import Transfer, TransferIn, TransferOut
from shared.domain.ledger.rollup import ROLLUP
from shared.domain.pricing.usage import Usage
from shared.domain.stored_fields import Codec, Fields, FieldValue

BALANCE_KEY = "B"
# A range ends at "}", the character after "|".
RESERVATION_RANGE = ("P|", "P}")
TRANSFER_RANGE = ("G|", "G}")
REGISTRY_TABLE = "registry"
LANE_PARTITION: Final = re.compile(rf"{TENANT_ID.pattern}\|[0-9][0-9]")
_AMOUNT: Final = Codec(Amount)
_TRANSFERS: Final[Mapping[FieldValue, type[TransferOut | TransferIn]]] = {"out": TransferOut, "in": TransferIn}

INT64_FIELDS: Final = frozenset(
    field.name for field in (*ENTRY_FIELDS, *BALANCE.fields, *RESERVATION.fields, *ROLLUP.fields) if field.is_int64
)
"""Fields stored as `Edm.Int64`. A JSON number without that mark is a 32-bit integer or a double."""


def table_of(period: str) -> str:
    """Return the ledger's table of a period: `ledger202611` for `2026-11`. Retention drops whole tables."""
    return "ledger" + period.replace("-", "")


def partition_of(lane: Lane) -> str:
    """Return the partition of a lane in the tables of its period."""
    return f"{lane.tenant_id}|{lane.number:02}"


def lane_from(partition: str, period: str) -> Lane:
    """Build the lane whose partition this is: the inverse of `partition_of`. Raises `ValueError` for any other name."""
    if LANE_PARTITION.fullmatch(partition) is None:
        raise ValueError("this is not the name of a lane")
    tenant_id, _, number = partition.partition("|")
    return Lane(tenant_id, period, int(number))


def entry_key(seq: int) -> str:
    """Return the key of a ledger entry. Leading zeros make keys sort like numbers."""
    return f"E|{seq:016}"


def reservation_key(rid: str) -> str:
    """Return the key of an open reservation."""
    return f"P|{rid}"


def marker_key(rid: str) -> str:
    """Return the key of an expired marker, which keeps the charge of an expired reservation."""
    return f"X|{rid}"


def late_mark_key(rid: str) -> str:
    """Return the key of the row that makes an adjustment unique. Earlier versions used it for grants, too."""
    return f"L|{rid}"


def grant_key(grant_id: str) -> str:
    """Return the key of the row that makes a grant unique."""
    return f"L|grant|{grant_id}"


def mark_key_of(entry: LedgerEntry) -> str:
    """Return the key of the row `L` that was written with an adjustment or a grant; empty for any other entry."""
    if entry.kind is EntryKind.ADJUST:
        return late_mark_key(entry.rid)
    kind, _, grant_id = entry.reference.partition("/")
    if entry.kind is not EntryKind.LIMIT or kind != "grant":
        return ""
    # Earlier versions, whose entries do not tell the limit before them, shared the keys of adjustments.
    return late_mark_key(grant_id) if entry.previous_limit is None else grant_key(grant_id)


def transfer_key(xid: str) -> str:
    """Return the key of one side of a transfer."""
    return f"G|{xid}"


def balance_fields(balance: Balance) -> Fields:
    """Return the row `B`."""
    return BALANCE.write(balance)


def balance_from(row: Mapping[str, FieldValue]) -> Balance:
    """Build a balance from its row `B`. Raises `RowsDamaged`."""
    try:
        return BALANCE.read(row)
    except (LookupError, TypeError, ValueError) as error:
        raise RowsDamaged(f"The balance of a lane cannot be read ({error!r}).") from error


def reservation_fields(reservation: Reservation, commit_id: str) -> Fields:
    """Return the row `P`. `commit_id` tells later which commit wrote it."""
    row = RESERVATION.write(reservation)
    row["commit_id"] = commit_id
    return row


def reservation_from(lane: Lane, key: str, row: Mapping[str, FieldValue]) -> Reservation:
    """Build a reservation from its row `P` in `lane`."""
    return RESERVATION.read(row, rid=key.partition("|")[2], lane=lane)


def charged_from(row: Mapping[str, FieldValue]) -> tuple[Amount, Usage]:
    """Read the charge and the usage from an expired marker `X`."""
    return _AMOUNT.read(row), USAGE.read(row)


def transfer_fields(transfer: Transfer) -> Fields:
    """Return the row `G`: one side of a transfer."""
    direction = "out" if isinstance(transfer, TransferOut) else "in"
    amount = transfer.amount
    return {"direction": direction, "other": transfer.other, "tokens": amount.tokens, "pusd": amount.pusd}


def transfer_from(key: str, fields: Mapping[str, FieldValue]) -> Transfer:
    """Build a transfer from its row `G`. Raises `RowsDamaged` for a direction that the gateway does not know."""
    kind = _TRANSFERS.get(fields["direction"])
    if kind is None:
        raise RowsDamaged(f"The direction of the transfer {key} is {fields['direction']!r}, not 'out' or 'in'.")
    return kind(key.partition("|")[2], int(fields["other"]), _AMOUNT.read(fields))


def row_change(change: Change) -> RowChange:
    """Return the row operation that makes a planned change."""
    match change:
        case InsertReservation():
            reservation = change.reservation
            return Insert(reservation_key(reservation.rid), reservation_fields(reservation, change.commit_id))
        case InsertEntry():
            return Insert(entry_key(change.seq), change.fields)
        case DeleteReservation():
            return Delete(reservation_key(change.rid))
        case InsertMarker():
            charged: Fields = {"tokens": change.charged.tokens, "pusd": change.charged.pusd}
            return Insert(marker_key(change.rid), {**charged, **USAGE.write(change.usage)})
        case DeleteMarker():
            return Delete(marker_key(change.rid))
        case InsertLateMark():
            return Insert(late_mark_key(change.rid), {})
        case InsertGrantMark():
            return Insert(grant_key(change.grant_id), {})
        case _:
            return Insert(transfer_key(change.transfer.xid), transfer_fields(change.transfer))
