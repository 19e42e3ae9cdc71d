"""The arithmetic of the ledger: balances, reservations, entries, and what one commit does to a lane.

Everything here is pure. `shared/adapters/tables/committer.py` makes a `Plan` durable. The vocabulary is that of
docs/glossary.md; the invariants I1-I10 are checked by `shared/application/verify_ledger.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple, Self, TypeAlias

from shared.domain.money import MAX_PERIOD_PUSD
from shared.domain.rate_limit import Arrivals, RateLimits
from shared.domain.usage import NOTHING_USED, Usage
from shared.domain.values import field_names, value

RECENT_COMMITS = 32
NO_LIMIT = -1
MAX_PERIOD_TOKENS = 10**15

FieldValue: TypeAlias = str | int | bool
Fields: TypeAlias = dict[str, FieldValue]


class LaneState(StrEnum):
    OPEN = "OPEN"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"


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
class Amount:
    """Tokens and pUSD, which are always held and charged together."""

    tokens: int = 0
    pusd: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.pusd + other.pusd)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.tokens - other.tokens, self.pusd - other.pusd)

    def beyond(self, other: Amount) -> Amount:
        """How far this amount exceeds another, in each unit, never below zero."""
        if self.tokens <= other.tokens and self.pusd <= other.pusd:
            return NOTHING
        return Amount(max(0, self.tokens - other.tokens), max(0, self.pusd - other.pusd))


NOTHING = Amount()


@value
class Limit:
    """A period's quota and budget; `None` means none. Money never exceeds 9 million USD a period (Int64)."""

    tokens: int | None = None
    pusd: int | None = None

    def plus(self, amount: Amount) -> Limit:
        """The limit that is higher by `amount`, in the units that are limited."""
        return Limit(
            None if self.tokens is None else self.tokens + amount.tokens,
            None if self.pusd is None else self.pusd + amount.pusd,
        )


class Lane(NamedTuple):
    """One of the balance rows of a tenant's period. Number 0 is the vault, the only one unless the tenant is hot."""

    tenant_id: str
    period: str
    number: int = 0

    @property
    def vault(self) -> Lane:
        """The lane that holds what no other lane has taken."""
        return Lane(self.tenant_id, self.period)


@value
class Account:
    """Whose balance a reservation is held against, and the limit under which it opens if it is not open yet.

    `lanes` is how many processes may have a lane of their own; with 1 all share the vault.
    """

    tenant_id: str
    period: str
    limit: Limit
    rates: RateLimits = RateLimits()
    lanes: int = 1

    @property
    def vault(self) -> Lane:
        """The first lane of the account."""
        return Lane(self.tenant_id, self.period)


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


@dataclass(slots=True)
class Balance:
    """One lane's row `B`. `available = limit + moved - used - reserved`. A plan works on a copy of it.

    The vault's `limit` is the tenant's, with what was `granted` for this period beyond quota and budget. Other lanes
    have a limit of zero, or none where the tenant has none; `moved` is what came into the lane from others less what
    went out, so that over all lanes it adds up to what is on its way.
    `owner` is the process that a lane was given to until `owner_until`.
    """

    head: str
    limit: Limit = Limit()
    limit0: Limit = Limit()
    state: LaneState = LaneState.OPEN
    used: Amount = Amount()
    reserved: Amount = Amount()
    excess: Amount = Amount()
    open_reservations: int = 0
    seq: int = 0
    version: int = 0
    recent: tuple[str, ...] = ()
    arrivals: Arrivals = Arrivals()
    moved: Amount = Amount()
    granted: Amount = Amount()
    owner: str = ""
    owner_until: str = ""

    def copy(self) -> Balance:
        """A copy to plan on."""
        return Balance(
            self.head,
            self.limit,
            self.limit0,
            self.state,
            self.used,
            self.reserved,
            self.excess,
            self.open_reservations,
            self.seq,
            self.version,
            self.recent,
            self.arrivals,
            self.moved,
            self.granted,
            self.owner,
            self.owner_until,
        )

    @property
    def available_tokens(self) -> int | None:
        """Tokens left to reserve, never below zero; `None` where there is no quota."""
        if self.limit.tokens is None:
            return None
        return max(0, self.limit.tokens + self.moved.tokens - self.used.tokens - self.reserved.tokens)

    @property
    def available_pusd(self) -> int | None:
        """pUSD left to reserve, never below zero; `None` where there is no budget."""
        if self.limit.pusd is None:
            return None
        return max(0, self.limit.pusd + self.moved.pusd - self.used.pusd - self.reserved.pusd)

    def refusal(self, amount: Amount) -> Refusal | None:
        """Why `amount` is not admitted: `used + reserved + amount <= limit + moved` must hold in both units."""
        if self.state is not LaneState.OPEN:
            return Refusal.NOT_OPEN
        held = self.used + self.reserved + amount
        if self.limit.tokens is not None and held.tokens > self.limit.tokens + self.moved.tokens:
            return Refusal.TOKENS
        if held.pusd > (MAX_PERIOD_PUSD if self.limit.pusd is None else self.limit.pusd + self.moved.pusd):
            return Refusal.MONEY
        return None


class Refusal(StrEnum):
    """Why a reservation was not admitted."""

    NOT_OPEN = "not_open"
    TOKENS = "tokens"
    MONEY = "money"
    RATE = "rate"
