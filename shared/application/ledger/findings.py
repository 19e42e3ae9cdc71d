"""The invariants of the books, their violations, and what a verification could not check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shared.application.ports.books import Fault, Place
from shared.domain.values import record

INVARIANTS = {
    "I1": "entries of a lane are exactly 1..B.seq",
    "I2": "the chain recomputes over the stored rows and ends at B.head; every anchored head matches",
    "I3": "B.used = sum of entry amounts",
    "I4": "B.reserved = sum of open reservations, and their number is B.open_reservations",
    "I5": "each rid has exactly one of open reservation and terminal entry",
    "I6": "late entries belong to expired reservations, at most one each, and so do adjustments; rows X and L agree",
    "I7": "excess = sum(max(0, actual - what was still held)); used + reserved <= limit + excess",
    "I8": "limit = limit0 + in - out + limit changes; lanes + in transit = the tenant's limit; rows G and L agree",
    "I9": "no lane closes before its period ends; CLOSED: no open reservation, the last entry is close",
    "I10": "entry cost = price(usage, price version); each price stands under the hash of its content",
    "I11": "rollups = entries up to the watermark",
    "I12": "the manifest's totals = entries; statement lines add up to the total",
    "I13": "each answer that a client received is booked once",
    "I14": "each reservation, lease and wait ends: no reservation is open ten minutes after its deadline",
    "I15": "each row is one that the gateway writes: its kind, its properties and their types",
    "I16": "registry = partitions of the tables; tenants with books = tenants with a document",
    "I17": "the limit of an open period = the tenant's document + grants",
    "I18": "the audit log recomputes, and has each event once",
    "I19": "each document is as its newest event left it",
    "I20": "an evidence package has the files that its manifest names, and they agree with each other",
    "I21": "each grant and each new limit in the books has the audit event that tells it",
}


@record
class Finding:
    """One violation of an invariant. The message and the place name the row or sum that shows it."""

    invariant: str
    tenant_id: str
    message: str
    table: str = ""
    partition: str = ""
    row: str = ""
    property_name: str = ""


@record
class NotChecked:
    """Something that a verification did not look at."""

    invariant: str
    reason: str
    is_all: bool = False
    """Nothing of the invariant was checked."""
    is_open: bool = False
    """Rows of the invariant's own could not be checked, so nobody can say that it holds."""


def finding_at(place: Place, invariant: str, message: str, tenant_id: str | None = None) -> Finding:
    """Return a finding at a place. The tenant is by default that of the partition."""
    return Finding(
        invariant=invariant,
        tenant_id=place.partition.partition("|")[0] if tenant_id is None else tenant_id,
        message=message,
        table=place.table,
        partition=place.partition,
        row=place.row,
        property_name=place.property_name,
    )


def findings_of(faults: Iterable[Fault], invariant: str, tenant_id: str | None = None) -> Iterator[Finding]:
    """Return faults as violations of an invariant."""
    return (finding_at(fault.place, invariant, fault.message, tenant_id) for fault in faults)
