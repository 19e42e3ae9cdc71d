"""The chain of audit events: one for each month of the events' own times (docs/reference/audit.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.domain.audit.hash_chain import Sealed, genesis
from shared.domain.values import record, value

PARTITION_NAME: Final = "audit"
"""The name of the chain in its genesis."""


def audit_genesis(period: str) -> str:
    """Return the head of a month's chain before its first event."""
    return genesis(period, PARTITION_NAME)


def chain_name(period: str) -> str:
    """Return the name of a month's chain among those that are anchored."""
    return f"audit/{period}"


@value
class AuditHead:
    """The end of a month's chain: the number of its last event, and its hash."""

    period: str
    seq: int
    head: str


@record
class ChainedEvent:
    """An entry of the log, as it is stored."""

    seq: int
    event_id: str
    text: str
    """The canonical JSON of the event."""
    sealed: Sealed
    faults: Sequence[str] = ()
    """Everything about the form of its row that is wrong."""


@value
class WaitingEvent:
    """An event that waits to be chained."""

    event_id: str
    at: str
    """Its time, as `timestamp` writes it."""
    text: str

    @property
    def period(self) -> str:
        """The month of its chain."""
        return self.at[: len("2026-11")]
