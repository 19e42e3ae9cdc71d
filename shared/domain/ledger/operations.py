"""What can be asked of a lane of the ledger, and why it may be refused. `commit_plan` says what each does."""

from __future__ import annotations

from typing import TypeAlias

from shared.domain.errors import GatewayError
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.entries import Outcome, Reservation
from shared.domain.pricing.usage import Usage
from shared.domain.rate_limit import RateLimits
from shared.domain.values import record, value


class ReservationsOpen(GatewayError):
    """A lane with open reservations cannot be closed."""


class InsufficientAvailable(GatewayError):
    """A lane no longer has the room that it was to give away."""


class LaneLeased(GatewayError):
    """A lane belongs to another process."""


@value
class Open:
    """Open the lane if it is not open yet, and tell its balance."""

    rows = 0
    rid = ""


@value
class _OfReservation:
    reservation: Reservation

    @property
    def rid(self) -> str:
        return self.reservation.rid


@value
class Reserve(_OfReservation):
    """Hold an upper bound before the upstream call."""

    rate_limits: RateLimits = RateLimits()
    rows = 1


@value
class Settle(_OfReservation):
    """Record what was consumed (or that nothing was) and give back the rest of the hold."""

    outcome: Outcome
    rows = 2


@value
class Expire(_OfReservation):
    """Resolve a reservation past its deadline by its tenant's policy, leaving a marker for the late settlement."""

    outcome: Outcome
    rows = 3


@record
class LateSettle(_OfReservation):
    """The settlement of a reservation that has expired: charges the difference to what expiry charged."""

    outcome: Outcome
    charged: Amount
    charged_usage: Usage
    rows = 2


@record
class Adjust(_OfReservation):
    """The settlement of a reservation whose period has closed: charges the difference in a later period, once."""

    outcome: Outcome
    charged: Amount
    charged_usage: Usage
    rows = 2


@value
class _OfTransfer:
    """`amount` of room, under an id that both sides keep."""

    xid: str
    other: int
    amount: Amount
    rows = 2

    @property
    def rid(self) -> str:
        return self.xid


@value
class TransferOut(_OfTransfer):
    """Give room to the lane `other`. Raises `InsufficientAvailable` where there is no longer so much of it."""


@value
class TransferIn(_OfTransfer):
    """Take the room that the lane `other` has given, once."""


@value
class Claim:
    """Give the lane to one process for a while, so that nobody else writes to it. Raises `LaneLeased`."""

    owner: str
    until: str
    rows = 0
    rid = ""


@record
class Grant:
    """Raise the period's limit by `amount`, once for each id, with who did it and why.

    Raises `InvalidRequest` for a unit that has no limit, and where the limit would be too high to be kept.
    """

    grant_id: str
    amount: Amount
    actor: str
    reason: str
    rows = 2

    @property
    def rid(self) -> str:
        return self.grant_id


@value
class ChangeLimit:
    """Replace the period's quota and budget, with who did it and why; what was granted comes on top."""

    limit: Limit
    actor: str
    reason: str
    rows = 1
    rid = ""


@value
class BeginClosing:
    """Admit no further reservation; what is open may still resolve."""

    rows = 0
    rid = ""


@value
class Close:
    """Write the last entry. Requires that no reservation is open."""

    rows = 1
    rid = ""


Transfer: TypeAlias = TransferOut | TransferIn
LaneChange: TypeAlias = Transfer | Claim | Grant | ChangeLimit | BeginClosing | Close
ResolvingChange: TypeAlias = Settle | Expire | LateSettle | Adjust
Operation: TypeAlias = Open | Reserve | ResolvingChange | LaneChange
