"""Usage summed by day, deployment, user and model, so that no report has to read a month of entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import field

from shared.domain.content_filter import is_flagged, noted_findings
from shared.domain.ledger.entries import EntryKind, LedgerEntry, Outcome
from shared.domain.pricing.usage import Usage
from shared.domain.values import field_names, value

REQUEST_KINDS = frozenset({EntryKind.CHARGE, EntryKind.VOID, EntryKind.EXPIRE})
FIRST_FAILED_STATUS = 400


@value
class RollupKey:
    """What a rollup is the sum of. `day` is that of the entry's timestamp, in UTC."""

    day: str
    deployment: str
    user: str
    model: str


@value
class Rollup:
    """Sums over entries. Late entries and adjustments carry differences, so that plain sums are right."""

    requests: int = 0
    failed_requests: int = 0
    tokens: int = 0
    cost_pusd: int = 0
    estimated_tokens: int = 0
    content_filter_flags: int = 0
    usage: Usage = Usage()
    findings: Counter[str] = field(default_factory=Counter)
    """How often the content filter found what, for example `hate:medium`."""

    def __add__(self, other: Rollup) -> Rollup:
        return Rollup(*(getattr(self, name) + getattr(other, name) for name in _FIELDS))


_FIELDS = field_names(Rollup)


def rollup_of(entry: LedgerEntry) -> tuple[RollupKey, Rollup] | None:
    """What one entry adds to which rollup; `None` where it is not about a request."""
    attempt, outcome = entry.attempt, entry.outcome
    if attempt is None or outcome is None:
        return None
    return RollupKey(entry.timestamp[:10], attempt.deployment, attempt.user, attempt.model), sums_of(entry, outcome)


def sums_of(entry: LedgerEntry, outcome: Outcome) -> Rollup:
    """What one entry with this outcome adds to any sum."""
    is_request = entry.kind in REQUEST_KINDS and not outcome.superseded
    has_failed = is_request and (outcome.status >= FIRST_FAILED_STATUS or entry.kind is EntryKind.EXPIRE)
    return Rollup(
        requests=int(is_request),
        failed_requests=int(has_failed),
        tokens=entry.amount.tokens,
        cost_pusd=entry.amount.pusd,
        estimated_tokens=entry.amount.tokens if outcome.estimated else 0,
        content_filter_flags=int(is_flagged(outcome.content_filter)),
        findings=Counter(noted_findings(outcome.content_filter)),
        usage=outcome.usage,
    )


def rolled_up(entries: Iterable[LedgerEntry]) -> dict[RollupKey, Rollup]:
    """The rollups of some entries."""
    sums: dict[RollupKey, Rollup] = {}
    for entry in entries:
        found = rollup_of(entry)
        if found is not None:
            key, added = found
            sums[key] = sums.get(key, Rollup()) + added
    return sums
