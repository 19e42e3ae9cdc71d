"""Operations on a lane of the ledger, and their errors. `commit_plan` implements them.

- `rows` is the number of rows that an operation changes in addition to the balance; a transaction holds at most 100.
- `rid` is the id of the reservation, transfer or grant; empty if there is none. A commit holds one operation a `rid`,
  because a transaction may change a row only once.
"""

from __future__ import annotations

from typing import TypeAlias

from shared.domain.errors import GatewayError
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.entries import Outcome, Reservation
from shared.domain.pricing.usage import Usage
from shared.domain.rate_limit import RateLimits
from shared.domain.values import record, value


class ReservationsOpen(GatewayError):
    """A lane has open reservations, so it cannot be closed."""


class InsufficientAvailable(GatewayError):
    """A lane has less available than a transfer takes."""


class LaneLeased(GatewayError):
    """A lane is leased to another process."""


@value
class Open:
    """Open the lane if it is not open yet, and return its balance."""

    rows = 0
    rid = ""


@value
class _ReservationOperation:
    """An operation on one reservation."""

    reservation: Reservation

    @property
    def rid(self) -> str:
        return self.reservation.rid


@value
class Reserve(_ReservationOperation):
    """Hold the upper bound of an attempt before its upstream call."""

    rate_limits: RateLimits = RateLimits()
    rows = 1


@value
class Ask:
    """Ask whether a reservation of `amount` would be admitted now. Holds nothing and counts as no request."""

    amount: Amount
    rate_limits: RateLimits = RateLimits()
    rows = 0
    rid = ""


@value
class Settle(_ReservationOperation):
    """Charge the consumption, which may be nothing, and release the hold."""

    outcome: Outcome
    rows = 2


@value
class Expire(_ReservationOperation):
    """Resolve a reservation past its deadline by the tenant's policy. Leaves a marker for a late settlement."""

    outcome: Outcome
    rows = 3


@record
class LateSettle(_ReservationOperation):
    """Settle a reservation that has expired. Charges the difference to the charge at expiry, once."""

    outcome: Outcome
    charged: Amount
    charged_usage: Usage
    rows = 2


@record
class Adjust(_ReservationOperation):
    """Settle a reservation whose period has closed. Charges the difference in a later period, once."""

    outcome: Outcome
    charged: Amount
    charged_usage: Usage
    rows = 2


@value
class _TransferOperation:
    """One side of a transfer. Both lanes store the transfer id `xid`; `other` is the number of the other lane."""

    xid: str
    other: int
    amount: Amount
    rows = 2

    @property
    def rid(self) -> str:
        return self.xid


@value
class TransferOut(_TransferOperation):
    """Give `amount` to the lane `other`. Raises `InsufficientAvailable` if less is available."""


@value
class TransferIn(_TransferOperation):
    """Receive the `amount` that the lane `other` has given, once."""


@value
class Claim:
    """Lease the lane to the process `owner` until the time `until`, so that no other process writes to it.

    Raises `LaneLeased` while another process has the lease.
    """

    owner: str
    until: str
    rows = 0
    rid = ""


@record
class Grant:
    """Raise the period's limit by `amount`, once for each `grant_id`. Records the actor and the reason.

    Raises `InvalidRequest` for a unit without a limit, and if the limit would exceed the ledger's maximum.
    """

    grant_id: str
    amount: Amount
    actor: str
    reason: str
    rows = 2

    @property
    def rid(self) -> str:
        return f"grant|{self.grant_id}"  # a caller chooses the id, which may be that of a reservation


@value
class ChangeLimit:
    """Replace the period's quota and budget; grants are added to them. Records the actor and the reason."""

    limit: Limit
    actor: str
    reason: str
    rows = 1
    rid = ""


@value
class BeginClosing:
    """Admit no further reservation. Open reservations may still resolve."""

    rows = 0
    rid = ""


@value
class Close:
    """Write the last entry. Raises `ReservationsOpen` while a reservation is open."""

    rows = 1
    rid = ""


Transfer: TypeAlias = TransferOut | TransferIn
LaneChange: TypeAlias = Transfer | Claim | Grant | ChangeLimit | BeginClosing | Close
ResolvingChange: TypeAlias = Settle | Expire | LateSettle | Adjust
Operation: TypeAlias = Open | Reserve | Ask | ResolvingChange | LaneChange
