"""Rollups: usage summed by day, deployment, user, model and application. Reports read them instead of entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from shared.domain.content_filter import findings_from_text, is_flagged
from shared.domain.ledger.entries import EntryKind, LedgerEntry, Outcome
from shared.domain.pricing.usage import NOTHING_USED, Usage
from shared.domain.stored_fields import Codec, stored
from shared.domain.values import field_names, record

REQUEST_KINDS = frozenset({EntryKind.CHARGE, EntryKind.VOID, EntryKind.EXPIRE})
FIRST_FAILED_STATUS = 400


def _counts(text: str) -> Counter[str]:
    counts = (each.rpartition("=") for each in text.split(",") if each)
    return Counter({finding: int(count) for finding, _, count in counts})


@record
class RollupKey:
    """The group of entries that one rollup sums."""

    day: str = stored("day of the entries, in UTC", always=True)
    deployment: str = stored("deployment", always=True)
    user: str = stored("end user", always=True)
    model: str = stored("model", always=True)
    application: str = stored("application of the access token; empty for keys", default="")


@record
class Rollup:
    """Sums over entries. Late entries and adjustments hold differences, so that plain sums are right."""

    requests: int = stored("requests", always=True, default=0)
    failed_requests: int = stored("requests that failed", always=True, default=0)
    tokens: int = stored("tokens", int64=True, always=True, default=0)
    cost_pusd: int = stored("cost in pUSD", int64=True, always=True, default=0)
    estimated_tokens: int = stored("tokens that were estimated", int64=True, always=True, default=0)
    content_filter_flags: int = stored("requests that the content filter flagged", always=True, default=0)
    usage: Usage = stored("usage", prefix="usage_", always=True, may_be_missing=True, default=NOTHING_USED)
    findings: Counter[str] = stored(
        "counts of content filter findings, for example `hate:medium=2`",
        via="findings_text",
        parse=_counts,
        always=True,
        may_be_missing=True,
        default_factory=Counter,
    )

    @property
    def findings_text(self) -> str:
        """The counts of findings as they are stored, sorted."""
        return ",".join(f"{finding}={count}" for finding, count in sorted(self.findings.items()))

    def __add__(self, other: Rollup) -> Rollup:
        return Rollup(**{name: getattr(self, name) + getattr(other, name) for name in _FIELDS})


_FIELDS = field_names(Rollup)
ROLLUP_KEY: Final = Codec(RollupKey)
ROLLUP: Final = Codec(Rollup)


def rollup_of(entry: LedgerEntry) -> tuple[RollupKey, Rollup] | None:
    """Return the rollup that an entry belongs to, and the entry's sums. `None` if the entry is not about a request."""
    attempt, outcome = entry.attempt, entry.outcome
    if attempt is None or outcome is None:
        return None
    return RollupKey(
        day=entry.timestamp[:10],
        deployment=attempt.deployment,
        user=attempt.user,
        model=attempt.model,
        application=attempt.application,
    ), sums_of(entry, outcome)


def sums_of(entry: LedgerEntry, outcome: Outcome) -> Rollup:
    """Return the sums of one entry. A superseded attempt and a late settlement are not counted as requests."""
    is_request = entry.kind in REQUEST_KINDS and not outcome.superseded
    has_failed = is_request and (outcome.status >= FIRST_FAILED_STATUS or entry.kind is EntryKind.EXPIRE)
    return Rollup(
        requests=int(is_request),
        failed_requests=int(has_failed),
        tokens=entry.amount.tokens,
        cost_pusd=entry.amount.pusd,
        estimated_tokens=entry.amount.tokens if outcome.estimated else 0,
        content_filter_flags=int(is_flagged(outcome.content_filter)),
        findings=Counter(findings_from_text(outcome.content_filter)),
        usage=outcome.usage,
    )


def rolled_up(entries: Iterable[LedgerEntry]) -> dict[RollupKey, Rollup]:
    """Sum entries into rollups."""
    sums: dict[RollupKey, Rollup] = {}
    for entry in entries:
        found = rollup_of(entry)
        if found is not None:
            key, added = found
            sums[key] = sums.get(key, Rollup()) + added
    return sums
