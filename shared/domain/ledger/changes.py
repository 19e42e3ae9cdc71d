"""Changes of rows that a commit plans, in the ledger's own terms."""

from __future__ import annotations

from typing import TypeAlias

from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.entries import Reservation
from shared.domain.ledger.operations import (
    Transfer,
)
from shared.domain.pricing.usage import Usage
from shared.domain.stored_fields import Fields
from shared.domain.values import value


@value
class InsertReservation:
    """Insert the row `P`: an open reservation."""

    reservation: Reservation
    commit_id: str


@value
class DeleteReservation:
    """Delete the row `P`, because the reservation is resolved."""

    rid: str


@value
class InsertEntry:
    """Insert the row `E`: the fields of a numbered entry, with its hash."""

    seq: int
    fields: Fields


@value
class InsertMarker:
    """Insert the row `X`: the charge at expiry. It stays until the late settlement."""

    rid: str
    charged: Amount
    usage: Usage


@value
class DeleteMarker:
    """Delete the row `X`. This fails if the late settlement was booked before, so it is booked once."""

    rid: str


@value
class InsertLateMark:
    """Insert the row `L`. It makes the adjustment of a reservation unique in its period."""

    rid: str


@value
class InsertGrantMark:
    """Insert the row `L` of a grant. It makes the grant unique in its period."""

    grant_id: str


@value
class InsertTransfer:
    """Insert the row `G`. It makes each side of a transfer unique, and shows an amount in transit."""

    transfer: Transfer


Change: TypeAlias = (
    InsertReservation
    | DeleteReservation
    | InsertEntry
    | InsertMarker
    | DeleteMarker
    | InsertLateMark
    | InsertGrantMark
    | InsertTransfer
)
