"""The state of a billing period over all tenants."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Lane
from shared.domain.values import record


class PeriodState(StrEnum):
    """The state of a period: it has not ended, its lanes are not all closed, they are, or its files are written."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    EXPORTED = "exported"


@record
class PeriodStatus:
    """The state of a period. `lanes_not_closed` is empty for a period that has not ended."""

    period: BillingPeriod
    state: PeriodState
    closable_from: datetime
    """The end of the period and its grace."""
    lanes: int
    lanes_not_closed: tuple[Lane, ...] = ()
