"""Reservations, outcomes, and the immutable entries of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from operator import attrgetter
from typing import Self, TypeAlias

from shared.domain.ledger.amounts import NO_LIMIT, Amount, Limit
from shared.domain.ledger.balance import Lane
from shared.domain.pricing.usage import NOTHING_USED, Usage
from shared.domain.values import field_names, value

FieldValue: TypeAlias = str | int | bool

Fields: TypeAlias = dict[str, FieldValue]


class ExpiryPolicy(StrEnum):
    """What a reservation whose gateway died is charged until a late settlement corrects it."""

    INPUT = "input"
    FULL = "full"
    NONE = "none"


class EntryKind(StrEnum):
    CHARGE = "charge"
    VOID = "void"
    EXPIRE = "expire"
    LATE = "late"
    ADJUST = "adjust"
    LIMIT = "limit"
    TRANSFER_OUT = "transfer_out"
    TRANSFER_IN = "transfer_in"
    CLOSE = "close"


@value
class Attempt:
    """The facts of one upstream attempt that are known before it is made."""

    deployment: str
    backend: str
    region: str
    model: str
    price_version: str
    user: str
    key_id: str
    request_id: str
    cost_center: str
    streamed: bool
    operation: str = ""
    """The path of the API operation, for example `chat/completions`."""
    variant: str = ""
    """Of images: quality and size, by which they are priced."""
    processed_in: str = ""
    """The narrowest place where the backend certainly processes: a region, a zone, or `global`."""

    def fields(self) -> Fields:
        """The facts, flat, as stored in reservations and entries."""
        return dict(zip(_ATTEMPT_FIELDS, _attempt_values(self), strict=True))

    @classmethod
    def from_fields(cls, fields: Mapping[str, FieldValue]) -> Self:
        """The inverse of `fields`; what was left out is empty."""
        texts = {name: _text(fields, name) for name in _ATTEMPT_FIELDS if name != "streamed"}
        return cls(**texts, streamed=bool(fields.get("streamed")))


@value
class Reservation:
    """A pending hold with a deadline; resolves exactly once. Times are RFC 3339 in UTC with milliseconds.

    `amount` is the upper bound that is held; `input_tokens` and `output_tokens` are what expiry may charge.
    """

    rid: str
    lane: Lane
    amount: Amount
    input_tokens: int
    output_tokens: int
    created: str
    deadline: str
    instance: str
    attempt: Attempt
    units: Usage = NOTHING_USED
    """What beside tokens expiry may charge."""


@value
class Outcome:
    """How an attempt ended and what it is charged."""

    kind: EntryKind
    amount: Amount = Amount()
    usage: Usage = Usage()
    status: int = 0
    error_code: str = ""
    latency_ms: int = 0
    estimated: bool = False
    content_filter: str = ""
    """What the content filter found, as `content_filter.noted` writes it."""
    service_tier: str = ""
    """As upstream stated it."""
    superseded: bool = False
    """Whether another attempt at the same request was made, which is what the caller saw."""


@value
class LedgerEntry:
    """One immutable, numbered, chained row: usage record and audit record of an attempt, or a change of the lane."""

    seq: int
    kind: EntryKind
    timestamp: str
    commit_id: str
    rid: str = ""
    amount: Amount = Amount()
    reserved: Amount = Amount()
    attempt: Attempt | None = None
    outcome: Outcome | None = None
    limit: Limit | None = None
    moved: Amount | None = None
    """Of a transfer: the room that came into this lane; negative where it went out."""
    actor: str = ""
    reason: str = ""
    reference: str = ""
    """Of an adjustment: the period and reservation that it corrects, `2026-11/{rid}`. Of a transfer: the other lane
    and the transfer's id, `00/{xid}`. Of a grant: `grant/{grant id}`."""
    hash: str = ""

    def fields(self) -> Fields:
        """Every field but the hash, flat, as stored and as covered by the chain. Empty values are left out."""
        names: tuple[str, ...] = _ENTRY_FIELDS
        values: tuple[FieldValue, ...] = (
            self.seq,
            str(self.kind),
            self.timestamp,
            self.commit_id,
            self.rid,
            self.amount.tokens,
            self.amount.pusd,
            self.reserved.tokens,
            self.reserved.pusd,
            self.actor,
            self.reason,
            self.reference,
        )
        if self.attempt is not None:
            names += _ATTEMPT_FIELDS
            values += _attempt_values(self.attempt)
        if self.outcome is not None:
            names += _OUTCOME_FIELDS + USAGE_FIELDS
            values += _outcome_values(self.outcome) + usage_values(self.outcome.usage)
        if self.limit is not None:
            names += _LIMIT_FIELDS
            values += tuple(NO_LIMIT if limit is None else limit for limit in (self.limit.tokens, self.limit.pusd))
        if self.moved is not None:
            names += _MOVED_FIELDS
            values += self.moved.tokens, self.moved.pusd
        return {name: value for name, value in zip(names, values, strict=True) if value or name in _ALWAYS}

    @classmethod
    def from_fields(cls, fields: Mapping[str, FieldValue]) -> Self:
        """The inverse of `fields`, with `hash`."""
        kind = EntryKind(str(fields["kind"]))
        amount = Amount(_int(fields, "tokens"), _int(fields, "pusd"))
        attempt = outcome = limit = moved = None
        if "deployment" in fields:
            attempt = Attempt.from_fields(fields)
            outcome = Outcome(
                kind=kind,
                amount=amount,
                usage=Usage(*(_int(fields, name) for name in USAGE_FIELDS)),
                status=_int(fields, "status"),
                error_code=_text(fields, "error_code"),
                latency_ms=_int(fields, "latency_ms"),
                estimated=bool(fields.get("estimated")),
                content_filter=_text(fields, "content_filter"),
                service_tier=_text(fields, "service_tier"),
                superseded=bool(fields.get("superseded")),
            )
        if kind is EntryKind.LIMIT:
            limit = Limit(
                *(
                    None if value == NO_LIMIT else value
                    for value in (_int(fields, "limit_tokens"), _int(fields, "limit_pusd"))
                )
            )
        if kind in (EntryKind.TRANSFER_OUT, EntryKind.TRANSFER_IN):
            moved = Amount(*(_int(fields, name) for name in _MOVED_FIELDS))
        return cls(
            seq=_int(fields, "seq"),
            kind=kind,
            timestamp=_text(fields, "timestamp"),
            commit_id=_text(fields, "commit_id"),
            rid=_text(fields, "rid"),
            amount=amount,
            reserved=Amount(_int(fields, "reserved_tokens"), _int(fields, "reserved_pusd")),
            attempt=attempt,
            outcome=outcome,
            limit=limit,
            moved=moved,
            actor=_text(fields, "actor"),
            reason=_text(fields, "reason"),
            reference=_text(fields, "reference"),
            hash=_text(fields, "hash"),
        )


_ENTRY_FIELDS = (
    "seq", "kind", "timestamp", "commit_id", "rid",
    "tokens", "pusd", "reserved_tokens", "reserved_pusd", "actor", "reason", "reference",
)  # fmt: skip

_LIMIT_FIELDS = ("limit_tokens", "limit_pusd")

_MOVED_FIELDS = ("moved_tokens", "moved_pusd")

_ATTEMPT_FIELDS = field_names(Attempt)

_USAGE_NAMES = field_names(Usage)

USAGE_FIELDS = tuple(f"usage_{name}" for name in _USAGE_NAMES)

_attempt_values = attrgetter(*_ATTEMPT_FIELDS)

_OUTCOME_FIELDS = ("status", "error_code", "latency_ms", "estimated", "content_filter", "service_tier", "superseded")

_outcome_values = attrgetter(*_OUTCOME_FIELDS)

usage_values: Callable[[Usage], tuple[int, ...]] = attrgetter(*_USAGE_NAMES)
"""Of a usage, in the order of `USAGE_FIELDS`."""

_ALWAYS = frozenset({"seq", "tokens", "pusd", "deployment", "limit_tokens", "limit_pusd"})


def _int(fields: Mapping[str, FieldValue], name: str) -> int:
    return int(fields.get(name, 0))


def _text(fields: Mapping[str, FieldValue], name: str) -> str:
    return str(fields.get(name, ""))
