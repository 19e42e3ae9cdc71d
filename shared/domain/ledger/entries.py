"""Reservations, outcomes, and the immutable entries of the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from shared.domain.ledger.amounts import NOTHING, Amount, Limit
from shared.domain.ledger.balance import Lane
from shared.domain.pricing.usage import NOTHING_USED, Usage
from shared.domain.stored_fields import Codec, Fields, FieldValue, StoredField, stored
from shared.domain.values import fact


class ExpiryPolicy(StrEnum):
    """The charge for a reservation whose gateway died, until a late settlement corrects it."""

    INPUT = "input"
    FULL = "full"
    NONE = "none"


class EntryKind(StrEnum):
    """The reason for an entry."""

    CHARGE = "charge"
    VOID = "void"
    EXPIRE = "expire"
    LATE = "late"
    ADJUST = "adjust"
    LIMIT = "limit"
    TRANSFER_OUT = "transfer_out"
    TRANSFER_IN = "transfer_in"
    CLOSE = "close"


@fact
class Attempt:
    """The facts of one upstream attempt that are known before it is made."""

    deployment: str = stored("deployment that the caller named", always=True)
    backend: str = stored("id of the backend")
    region: str = stored("region of the backend")
    model: str = stored("model of the backend")
    price_version: str = stored("ids of the price rows that apply, joined by dots")
    user: str = stored(
        "end user: the person of the access token (`oid`), else `x-gateway-user` where the tenant trusts its callers, "
        "else the body's `user` or `safety_identifier`, else the id of the key or of the application. Where the "
        "tenant's `pseudonymise_users` is set, an alias in place of a person or a stated user"
    )
    key_id: str = stored("id of the gateway key that was used; empty for an access token")
    request_id: str = stored("id of the request (`x-gateway-request-id`), which its attempts share")
    cost_center: str = stored("cost center of the tenant at that time")
    streamed: bool = stored("the caller asked for a stream")
    operation: str = stored("path of the API operation, for example `chat/completions`", default="")
    variant: str = stored("quality and size of images, by which they are priced", default="")
    processed_in: str = stored("narrowest place where processing is certain: a region, a zone or `global`", default="")
    unbounded: str = stored("consumption that the hold does not bound, as in `input,output`; empty if none", default="")
    sku: str = stored("SKU of the backend, by which it is priced", default="")
    spilled_to: str = stored("deployment that served instead of the backend's, by Azure's own spillover", default="")
    application: str = stored("application of the access token (`azp` or `appid`); empty for keys", default="")
    prompt_hmac: str = stored(
        "keyed hash of the prompt, as `{key id}.{HMAC-SHA256}`; empty unless the tenant's `prompt_hmac` asks for it",
        default="",
    )


@fact
class Reservation:
    """A pending hold with a deadline; resolves exactly once."""

    rid: str
    lane: Lane
    amount: Amount = stored("upper bound that is held", always=True)
    input_tokens: int = stored("input tokens that expiry may charge", int64=True, always=True)
    output_tokens: int = stored("output tokens that expiry may charge", int64=True, always=True)
    created: str = stored("time of creation, RFC 3339 in UTC with milliseconds", always=True)
    deadline: str = stored("time from which the reservation may expire, in the same form", always=True)
    instance: str = stored("process that made the reservation", always=True)
    attempt: Attempt = stored("attempt", always=True, may_be_missing=True)
    units: Usage = stored("units that expiry may charge (no tokens)", prefix="usage_", default=NOTHING_USED)


@fact
class Outcome:
    """The end of an attempt, and its charge."""

    kind: EntryKind
    amount: Amount = NOTHING
    usage: Usage = stored("usage", prefix="usage_", default=NOTHING_USED)
    status: int = stored("HTTP status", default=0)
    error_code: str = stored(
        "error code, for example `upstream_429`, `hedged`, `client_disconnected` or `expired`; empty for success",
        default="",
    )
    latency_ms: int = stored("milliseconds from the reservation to the settlement", default=0)
    estimated: bool = stored("the usage is an estimate, because the backend stated none", default=False)
    content_filter: str = stored(
        "findings of the content filter, sorted, for example `hate:low,jailbreak:detected`", default=""
    )
    service_tier: str = stored("service tier that the backend stated", default="")
    price_flags: str = stored(
        "reasons why the price is an assumption, sorted, for example `unpriced_tier`; empty for a certain price",
        default="",
    )
    corrected: str = stored(
        "of a late entry or adjustment: the charge that it replaces, as its price version and its usage, for example "
        "`0123456789 input=5`; empty if both have the same price version",
        default="",
    )
    superseded: bool = stored("another attempt at the same request followed or won", default=False)
    served: Attempt | None = None
    """The facts of the attempt that the entry states, where the answer has changed those of the reservation."""


@fact
class LedgerEntry:
    """One immutable, numbered, chained row: usage record and audit record of an attempt, or a change of the lane."""

    seq: int = stored("number of the entry in its lane, from 1, without gaps", int64=True, always=True)
    kind: EntryKind = stored("kind of the entry", via="kind._value_", parse=EntryKind)
    timestamp: str = stored("time of the commit, RFC 3339 in UTC with milliseconds")
    commit_id: str = stored("id of the commit that wrote the entry")
    rid: str = stored("id of the reservation that the entry resolves or corrects", default="")
    amount: Amount = stored(
        "charge (of a late entry or adjustment the difference, which may be negative)", always=True, default=NOTHING
    )
    reserved: Amount = stored("hold that the entry resolves", prefix="reserved_", default=NOTHING)
    attempt: Attempt | None = stored("attempt", default=None)
    outcome: Outcome | None = stored("outcome", default=None)
    limit: Limit | None = stored("limit after a limit entry", prefix="limit_", always=True, default=None)
    previous_limit: Limit | None = stored(
        "limit before a limit entry; absent in entries of earlier versions", prefix="before_", always=True, default=None
    )
    transferred: Amount | None = stored("transfer into the lane (negative: out of it)", prefix="moved_", default=None)
    actor: str = stored("administrator who changed the limit", default="")
    reason: str = stored("reason of the change", default="")
    reference: str = stored(
        "adjustment: `{period}/{rid}` that it corrects; transfer: `{other lane}/{xid}`; grant: `grant/{grant_id}`",
        default="",
    )
    balance_sha256: str = stored(
        "of a close: SHA-256 of the balance that it leaves, in canonical JSON without `head`, `seq` and what is zero "
        "or empty; absent in entries of earlier versions",
        default="",
    )
    method: str = stored("method of the hash chain: `sha256`; absent in entries of earlier versions", default="")
    key_version: str = stored("version of the chain key that made the `mac`; absent without a method", default="")
    hash: str = ""
    mac: str = ""

    def fields(self) -> Fields:
        """Return every field but hash and mac, as stored and as covered by the hash chain."""
        is_earlier = self.limit is not None and self.previous_limit is None
        return (_WRITER_OF_EARLIER_LIMITS if is_earlier else _WRITERS[self.kind]).write(self)

    @classmethod
    def from_fields(cls, row: Mapping[str, FieldValue]) -> LedgerEntry:
        """Build an entry from a stored row, with its `hash` and `mac`."""
        kind = EntryKind(str(row["kind"]))
        derived: dict[str, object] = {"hash": str(row.get("hash", "")), "mac": str(row.get("mac", ""))}
        if kind not in _CHANGES_OF_A_LANE:
            derived["attempt"] = ATTEMPT.read(row)
            derived["outcome"] = OUTCOME.read(row, kind=kind, amount=Amount(int(row["tokens"]), int(row["pusd"])))
        elif kind is EntryKind.LIMIT and "before_tokens" in row:
            derived["previous_limit"] = _PREVIOUS_LIMIT.read(row)
        return _READERS[kind].read(row, **derived)


ATTEMPT: Final = Codec(Attempt)
OUTCOME: Final = Codec(Outcome)
USAGE: Final = Codec(Usage, prefix="usage_")
RESERVATION: Final = Codec(Reservation)
"""The row `P`, but for the id of the commit that wrote it."""
_PREVIOUS_LIMIT: Final = Codec(Limit, prefix="before_")
_OPTIONAL: Final = frozenset({"attempt", "outcome", "limit", "previous_limit", "transferred", "balance_sha256"})
_CHANGES_OF_A_LANE: Final[Mapping[EntryKind, frozenset[str]]] = {
    EntryKind.LIMIT: frozenset({"limit", "previous_limit"}),
    EntryKind.TRANSFER_OUT: frozenset({"transferred"}),
    EntryKind.TRANSFER_IN: frozenset({"transferred"}),
    EntryKind.CLOSE: frozenset({"balance_sha256"}),
}
"""The optional fields of entries that are not about an attempt. All others have `attempt` and `outcome`."""
_ATTEMPTED: Final = frozenset({"attempt", "outcome"})
_WRITERS: Final = {
    kind: Codec(LedgerEntry, without=_OPTIONAL - _CHANGES_OF_A_LANE.get(kind, _ATTEMPTED)) for kind in EntryKind
}
_WRITER_OF_EARLIER_LIMITS: Final = Codec(LedgerEntry, without=_OPTIONAL - {"limit"})
_READERS: Final = {
    kind: Codec(LedgerEntry, without=_OPTIONAL - (_CHANGES_OF_A_LANE.get(kind, frozenset()) - {"previous_limit"}))
    for kind in EntryKind
}
"""Readers build `attempt` and `outcome` apart, because an outcome repeats the kind and the charge of its entry."""
ENTRY_FIELDS: Final[tuple[StoredField, ...]] = Codec(LedgerEntry).fields
"""Every property that the row `E` may have, beside its `hash` and `mac`."""
