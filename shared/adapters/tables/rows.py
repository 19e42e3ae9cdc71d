"""How the ledger's objects are written as table rows, and read back.

To add an entry field, add it to the domain object; if its value can exceed 2^31, name it in `INT64_FIELDS` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared.adapters.tables.store import Delete, Insert, RowChange
from shared.domain.ledger.amounts import NO_LIMIT, NOTHING, Amount, Limit
from shared.domain.ledger.balance import Balance, Lane, LaneState
from shared.domain.ledger.commit_plan import (
    Change,
    DeleteReservation,
    InsertEntry,
    InsertLateMark,
    InsertMarker,
    InsertReservation,
    InsertTransfer,
)
from shared.domain.ledger.entries import USAGE_FIELDS, Attempt, Fields, FieldValue, Reservation, usage_values
from shared.domain.ledger.operations import Transfer, TransferIn, TransferOut
from shared.domain.pricing.usage import NOTHING_USED, Usage
from shared.domain.rate_limit import Arrivals

BALANCE_KEY = "B"
RESERVATION_RANGE = ("P|", "P}")
TRANSFER_RANGE = ("G|", "G}")
REGISTRY_TABLE = "registry"

INT64_FIELDS: Final = frozenset(
    {"tokens", "pusd", "input_tokens", "output_tokens", "seq", "version", "requests_arrival", "tokens_arrival"}
    | {"cost_pusd", "estimated_tokens"}
    | {
        f"{name}_{unit}"
        for name in ("used", "reserved", "excess", "limit", "limit0", "moved", "granted")
        for unit in ("tokens", "pusd")
    }
    | set(USAGE_FIELDS)
)


def table_of(period: str) -> str:
    """`2026-11` is kept in `ledger202611`: retention is dropping a table."""
    return "ledger" + period.replace("-", "")


def partition_of(lane: Lane) -> str:
    return f"{lane.tenant_id}|{lane.number:02}"


def lane_from(partition: str, period: str) -> Lane:
    """The inverse of `partition_of`."""
    tenant_id, _, number = partition.partition("|")
    return Lane(tenant_id, period, int(number))


def entry_key(seq: int) -> str:
    return f"E|{seq:016}"


def reservation_key(rid: str) -> str:
    return f"P|{rid}"


def marker_key(rid: str) -> str:
    return f"X|{rid}"


def late_mark_key(rid: str) -> str:
    return f"L|{rid}"


def transfer_key(xid: str) -> str:
    return f"G|{xid}"


def balance_fields(balance: Balance) -> Fields:
    """Row `B`. No limit is written as -1, because a merge cannot remove a property."""
    limit, limit0 = balance.limit, balance.limit0
    fields: Fields = {
        "state": str(balance.state),
        "open_reservations": balance.open_reservations,
        "seq": balance.seq,
        "version": balance.version,
        "head": balance.head,
        "recent": ",".join(balance.recent),
        "limit_tokens": NO_LIMIT if limit.tokens is None else limit.tokens,
        "limit_pusd": NO_LIMIT if limit.pusd is None else limit.pusd,
        "limit0_tokens": NO_LIMIT if limit0.tokens is None else limit0.tokens,
        "limit0_pusd": NO_LIMIT if limit0.pusd is None else limit0.pusd,
        "used_tokens": balance.used.tokens,
        "used_pusd": balance.used.pusd,
        "reserved_tokens": balance.reserved.tokens,
        "reserved_pusd": balance.reserved.pusd,
        "excess_tokens": balance.excess.tokens,
        "excess_pusd": balance.excess.pusd,
        "requests_arrival": balance.arrivals.requests,
        "tokens_arrival": balance.arrivals.tokens,
        "moved_tokens": balance.moved.tokens,
        "moved_pusd": balance.moved.pusd,
    }
    if balance.granted != NOTHING:
        fields["granted_tokens"], fields["granted_pusd"] = balance.granted.tokens, balance.granted.pusd
    if balance.owner:
        fields["owner"], fields["owner_until"] = balance.owner, balance.owner_until
    return fields


def balance_from(fields: Mapping[str, FieldValue]) -> Balance:
    """The inverse of `balance_fields`."""
    recent = str(fields["recent"])
    return Balance(
        head=str(fields["head"]),
        limit=_limit(fields, "limit"),
        limit0=_limit(fields, "limit0"),
        state=LaneState(str(fields["state"])),
        used=_amount(fields, "used_"),
        reserved=_amount(fields, "reserved_"),
        excess=_amount(fields, "excess_"),
        open_reservations=int(fields["open_reservations"]),
        seq=int(fields["seq"]),
        version=int(fields["version"]),
        recent=tuple(recent.split(",")) if recent else (),
        arrivals=Arrivals(int(fields["requests_arrival"]), int(fields["tokens_arrival"])),
        moved=Amount(int(fields.get("moved_tokens", 0)), int(fields.get("moved_pusd", 0))),
        granted=Amount(int(fields.get("granted_tokens", 0)), int(fields.get("granted_pusd", 0))),
        owner=str(fields.get("owner", "")),
        owner_until=str(fields.get("owner_until", "")),
    )


def reservation_fields(reservation: Reservation, commit_id: str) -> Fields:
    """Row `P`."""
    fields = reservation.attempt.fields()
    fields |= {
        "tokens": reservation.amount.tokens,
        "pusd": reservation.amount.pusd,
        "input_tokens": reservation.input_tokens,
        "output_tokens": reservation.output_tokens,
        "created": reservation.created,
        "deadline": reservation.deadline,
        "instance": reservation.instance,
        "commit_id": commit_id,
    }
    if reservation.units is not NOTHING_USED:
        fields |= usage_fields(reservation.units)
    return fields


def reservation_from(lane: Lane, key: str, fields: Mapping[str, FieldValue]) -> Reservation:
    """The inverse of `reservation_fields`, for a row of `lane`."""
    return Reservation(
        rid=key.partition("|")[2],
        lane=lane,
        amount=_amount(fields),
        input_tokens=int(fields["input_tokens"]),
        output_tokens=int(fields["output_tokens"]),
        created=str(fields["created"]),
        deadline=str(fields["deadline"]),
        instance=str(fields["instance"]),
        attempt=Attempt.from_fields(fields),
        units=usage_from(fields),
    )


def charged_from(fields: Mapping[str, FieldValue]) -> tuple[Amount, Usage]:
    """What an expired marker `X` says was charged, and for which usage."""
    return _amount(fields), usage_from(fields)


def usage_fields(usage: Usage) -> Fields:
    """Every quantity of a usage that is not zero."""
    return {name: quantity for name, quantity in zip(USAGE_FIELDS, usage_values(usage), strict=True) if quantity}


def usage_from(fields: Mapping[str, FieldValue]) -> Usage:
    """The inverse of `usage_fields`."""
    return Usage(*(int(fields.get(name, 0)) for name in USAGE_FIELDS))


def transfer_fields(transfer: Transfer) -> Fields:
    """Row `G`."""
    direction = "out" if isinstance(transfer, TransferOut) else "in"
    amount = transfer.amount
    return {"direction": direction, "other": transfer.other, "tokens": amount.tokens, "pusd": amount.pusd}


def transfer_from(key: str, fields: Mapping[str, FieldValue]) -> Transfer:
    """The inverse of `transfer_fields`."""
    kind = TransferOut if fields["direction"] == "out" else TransferIn
    return kind(key.partition("|")[2], int(fields["other"]), _amount(fields))


def row_change(change: Change) -> RowChange:
    """A planned change as the row operation that makes it."""
    if isinstance(change, InsertReservation):
        reservation = change.reservation
        return Insert(reservation_key(reservation.rid), reservation_fields(reservation, change.commit_id))
    if isinstance(change, InsertEntry):
        return Insert(entry_key(change.seq), change.fields)
    if isinstance(change, DeleteReservation):
        return Delete(reservation_key(change.rid))
    if isinstance(change, InsertMarker):
        charged: Fields = {"tokens": change.charged.tokens, "pusd": change.charged.pusd}
        return Insert(marker_key(change.rid), {**charged, **usage_fields(change.usage)})
    if isinstance(change, InsertLateMark):
        return Insert(late_mark_key(change.rid), {})
    if isinstance(change, InsertTransfer):
        return Insert(transfer_key(change.transfer.xid), transfer_fields(change.transfer))
    return Delete(marker_key(change.rid))


def _amount(fields: Mapping[str, FieldValue], prefix: str = "") -> Amount:
    return Amount(int(fields[f"{prefix}tokens"]), int(fields[f"{prefix}pusd"]))


def _limit(fields: Mapping[str, FieldValue], name: str) -> Limit:
    tokens, pusd = int(fields[f"{name}_tokens"]), int(fields[f"{name}_pusd"])
    return Limit(None if tokens == NO_LIMIT else tokens, None if pusd == NO_LIMIT else pusd)
