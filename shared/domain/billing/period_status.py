"""The state of a billing period over all tenants."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from shared.domain.damaged_row import DamagedRow
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Lane
from shared.domain.values import record, value


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
    damaged: tuple[DamagedRow, ...] = ()
    """Rows of the period in the registry that name no lane. While there are any, the period cannot be closed."""


@value
class ListedPeriods:
    """All periods, the latest first, and the rows of the registry that name no period or no lane."""

    periods: Sequence[PeriodStatus]
    damaged: Sequence[DamagedRow]
