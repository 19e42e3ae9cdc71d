"""Identifiers, names, timestamps, and the billing period."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.domain.errors import InvalidRequest

TENANT_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_PERIOD = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")
_NO_YEARS = ("0000", "9999")
"""Years that have a month whose beginning or end no calendar has."""
_MAX_NAME_LENGTH = 128
_MAX_LABEL_CHARACTERS = 64
_UNFIT_FOR_LABELS = re.compile(r"[^ -~]")
_RESPONSE_ID = re.compile(r"[A-Za-z0-9][ -~]{0,255}")
# UUIDv7: 48 bits of milliseconds, version 7, 12 free bits, variant 2, 62 free bits.
_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_FREE_BITS = (1 << 80) - 1 & ~(0xF << 76 | 0b11 << 62)


@dataclass(frozen=True, slots=True, order=True)
class BillingPeriod:
    """A calendar month in UTC, `[start, end)`, written `YYYY-MM`."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> BillingPeriod:
        """Parse `YYYY-MM`. Raises `InvalidRequest` for anything else."""
        match = _PERIOD.fullmatch(text)
        if match is None or match[1] in _NO_YEARS:
            raise InvalidRequest("A billing period is written YYYY-MM, for example 2026-11.", "period")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def containing(cls, moment: datetime) -> BillingPeriod:
        """Return the period that contains a moment. The moment must have a time zone."""
        in_utc = moment.astimezone(UTC)
        return cls(in_utc.year, in_utc.month)

    @property
    def start(self) -> datetime:
        """The first moment of the period."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The first moment after the period."""
        return self.next().start

    def next(self) -> BillingPeriod:
        """Return the period after this one."""
        return BillingPeriod(self.year + 1, 1) if self.month == 12 else BillingPeriod(self.year, self.month + 1)

    def previous(self) -> BillingPeriod:
        """Return the period before this one."""
        return BillingPeriod(self.year - 1, 12) if self.month == 1 else BillingPeriod(self.year, self.month - 1)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


def new_rid() -> str:
    """Return a new UUIDv7 as 32 hexadecimal digits: unique, sortable by time, and not a secret.

    Source: https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7
    """
    return _uuid7(time.time_ns() // 1_000_000, random.getrandbits(80))


def rid_at(moment: datetime) -> str:
    """Return a new UUIDv7 of the given moment."""
    return _uuid7(int(moment.timestamp() * 1000), random.getrandbits(80))


def rid_after(rid: str) -> str:
    """Return the next id after a UUIDv7, for something that follows it and has an earlier time."""
    return f"{int(rid, 16) + 1:032x}"


def moment_of(rid: str) -> datetime:
    """Return the time in a UUIDv7."""
    return datetime.fromtimestamp((int(rid, 16) >> 80) / 1000, UTC)


def first_rid(moment: datetime) -> str:
    """Return the lower bound of a moment's rids: none of this moment or later sorts before it."""
    return _uuid7(int(moment.timestamp() * 1000), 0)


def _uuid7(milliseconds: int, tail: int) -> str:
    return f"{milliseconds << 80 | _VERSION_AND_VARIANT | tail & _FREE_BITS:032x}"


def checked_tenant_id(text: str) -> str:
    """Return `text` if it is a valid tenant id. Raises `InvalidRequest` otherwise."""
    if TENANT_ID.fullmatch(text) is None:
        raise InvalidRequest(
            "A tenant id has 1 to 40 lower-case letters, digits and hyphens and starts with a letter or digit.",
            "tenant_id",
        )
    return text


def checked_name(text: str, param: str) -> str:
    """Return `text` if it is a valid name: 1 to 128 printable characters, no spaces around them.

    Raises `InvalidRequest` otherwise; the error names `param`.
    """
    if not 0 < len(text) <= _MAX_NAME_LENGTH or not text.isprintable() or text.strip() != text:
        raise InvalidRequest(
            f"'{param}' must have 1 to {_MAX_NAME_LENGTH} printable characters, no spaces around them.", param
        )
    return text


def label(text: str) -> str:
    """Return a short text of a backend, such as a service tier, in a form that storage and headers accept.

    At most 64 printable ASCII characters; others become `?`.
    """
    if len(text) <= _MAX_LABEL_CHARACTERS and text.isascii() and text.isprintable():
        return text
    return _UNFIT_FOR_LABELS.sub("?", text[:_MAX_LABEL_CHARACTERS])


def usable_response_id(text: str) -> str:
    """Return the id of a response if it can be stored and asked for; else an empty string."""
    return text if _RESPONSE_ID.fullmatch(text) else ""


def period_of(written: str) -> str:
    """Return the billing period of a `timestamp`."""
    return written[: len("YYYY-MM")]


def timestamp(moment: datetime) -> str:
    """Format a moment as every stored and shown time is written: RFC 3339 in UTC with milliseconds."""
    in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    # ADR 12: date and time apart cost half of the whole, which computes its offset.
    return f"{in_utc.date().isoformat()}T{in_utc.time().isoformat('milliseconds')}Z"
