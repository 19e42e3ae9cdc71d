"""Stored fields: a codec writes and reads what a value object declares, and the ledger's objects read back."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.tables.rows import INT64_FIELDS
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import BALANCE, Balance, Lane, LaneState
from shared.domain.ledger.entries import RESERVATION, Attempt, EntryKind, LedgerEntry, Outcome, Reservation
from shared.domain.ledger.rollup import ROLLUP, ROLLUP_KEY, Rollup, RollupKey
from shared.domain.pricing.usage import Usage
from shared.domain.rate_limit import Arrivals
from shared.domain.stored_fields import Codec, Fields, StoredField, stored
from shared.domain.values import record, value


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@value
class Size:
    width: int = stored("width", int64=True, default=0)
    height: int = stored("height", default=0)


@record
class Box:
    """One field for each way to declare one."""

    label: str = stored("label", always=True)
    note: str = stored("note", default="")
    is_open: bool = stored("the box is open", name="open", default=False)
    color: Color = stored("color", via="color.value", parse=Color, default=Color.RED)
    inner: Size = stored("inner size", prefix="inner_", always=True, default=Size())
    outer: Size = stored("outer size", prefix="outer_", always=True, may_be_missing=True, default=Size())
    lid: Size | None = stored("lid", prefix="lid_", default=None)
    tags: list[str] = stored("tags", via="tags_text", parse=lambda text: text.split(), default_factory=list)
    remembered: int = 7

    @property
    def tags_text(self) -> str:
        return " ".join(self.tags)


WITHOUT_LID = Codec(Box, without=frozenset({"lid"}))
EMPTY: Fields = {"label": "", "color": "red", "inner_width": 0, "inner_height": 0, "outer_width": 0, "outer_height": 0}


def test_empty_values_are_left_out_unless_they_are_always_written() -> None:
    assert WITHOUT_LID.write(Box(label="")) == EMPTY


def test_every_value_is_written_under_its_stored_name() -> None:
    box = Box(
        label="l",
        note="n",
        is_open=True,
        color=Color.BLUE,
        inner=Size(1, 2),
        outer=Size(3, 4),
        lid=Size(5, 6),
        tags=["a", "b"],
        remembered=8,
    )
    assert Codec(Box).write(box) == {
        "label": "l",
        "note": "n",
        "open": True,
        "color": "blue",
        "inner_width": 1,
        "inner_height": 2,
        "outer_width": 3,
        "outer_height": 4,
        "lid_width": 5,
        "lid_height": 6,
        "tags": "a b",
    }


def test_a_prefix_precedes_every_name_of_a_codec() -> None:
    assert Codec(Size, prefix="box_").write(Size(1, 2)) == {"box_width": 1, "box_height": 2}
    assert Codec(Size, prefix="box_").read({"box_width": 1}) == Size(1, 0)


@pytest.mark.parametrize("missing", ["label", "inner_width", "inner_height"])
def test_a_row_without_a_required_field_cannot_be_read(missing: str) -> None:
    row = {name: plain for name, plain in EMPTY.items() if name != missing}
    with pytest.raises(KeyError, match=f"'{missing}'"):
        WITHOUT_LID.read(row)


def test_a_field_that_may_be_missing_reads_as_empty() -> None:
    row = {name: plain for name, plain in EMPTY.items() if not name.startswith("outer_")}
    assert WITHOUT_LID.read(row).outer == Size()


def test_fields_that_were_left_out_read_as_empty() -> None:
    box = WITHOUT_LID.read({**EMPTY, "note": "n"})
    assert (box.note, box.is_open, box.tags) == ("n", False, [])


def test_a_text_is_parsed_to_the_type_of_its_field() -> None:
    box = WITHOUT_LID.read({**EMPTY, "color": "blue", "tags": "a b"})
    assert (box.color, box.tags) == (Color.BLUE, ["a", "b"])


def test_a_number_stored_as_a_boolean_reads_as_its_type() -> None:
    assert WITHOUT_LID.read({**EMPTY, "open": 1}).is_open is True


def test_fields_that_are_not_stored_are_given_by_keyword() -> None:
    assert WITHOUT_LID.read(EMPTY, remembered=9, lid=Size(1, 2)) == Box(label="", remembered=9, lid=Size(1, 2))


def test_each_value_made_by_a_factory_is_a_new_one() -> None:
    first, second = Box(label="1"), Box(label="2")
    first.tags.append("a")
    assert second.tags == []


def test_a_codec_lists_its_fields_in_order() -> None:
    fields = {field.name: field for field in Codec(Box).fields}
    assert [*fields] == [
        *("label", "note", "open", "color", "inner_width", "inner_height", "outer_width", "outer_height"),
        *("lid_width", "lid_height", "tags"),
    ]
    assert fields["outer_width"] == StoredField(
        name="outer_width",
        path="outer.width",
        kind=int,
        meaning="outer size: width",
        is_int64=True,
        is_always_written=True,
    )
    assert [fields[name].kind for name in ("label", "open", "color", "tags")] == [str, bool, str, str]
    assert [name for name, field in fields.items() if field.is_int64] == ["inner_width", "outer_width", "lid_width"]
    assert [name for name, field in fields.items() if not field.is_always_written] == [
        *("note", "open", "color", "lid_width", "lid_height", "tags")
    ]


def test_the_fields_stored_with_64_bits_never_change() -> None:
    by_amount = {
        f"{amount}_{unit}"
        for amount in ("used", "reserved", "excess", "limit", "limit0", "before", "moved", "granted")
        for unit in ("tokens", "pusd")
    }
    by_meter = {
        "usage_input",
        "usage_cached_input",
        "usage_cache_write",
        "usage_audio_input",
        "usage_output",
        "usage_audio_output",
        "usage_reasoning",
        "usage_images",
        "usage_speech_characters",
        "usage_audio_seconds",
    }
    others = {
        *("tokens", "pusd", "input_tokens", "output_tokens", "seq", "version"),
        *("requests_arrival", "tokens_arrival", "cost_pusd", "estimated_tokens"),
    }
    assert by_amount | by_meter | others == INT64_FIELDS


TEXTS = st.text(max_size=8)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
LIMITS = st.builds(Limit, tokens=st.none() | st.integers(0, 2**63 - 1), pusd=st.none() | st.integers(0, 2**63 - 1))
AMOUNTS = st.builds(Amount, tokens=INTEGERS, pusd=INTEGERS)
USAGES = st.builds(Usage, **{each.name: INTEGERS for each in Codec(Usage).fields})
ATTEMPTS = st.builds(
    Attempt, **{each.name: st.booleans() if each.kind is bool else TEXTS for each in Codec(Attempt).fields}
)

LANES = st.builds(Lane, tenant_id=TEXTS, period=st.just("2026-11"), number=st.integers(0, 99))
RESERVATIONS = st.builds(
    Reservation,
    rid=TEXTS,
    lane=LANES,
    amount=AMOUNTS,
    input_tokens=INTEGERS,
    output_tokens=INTEGERS,
    created=TEXTS,
    deadline=TEXTS,
    instance=TEXTS,
    attempt=ATTEMPTS,
    units=USAGES,
)
BALANCES = st.builds(
    Balance,
    head=TEXTS,
    limit=LIMITS,
    limit0=LIMITS,
    state=st.sampled_from(LaneState),
    used=AMOUNTS,
    reserved=AMOUNTS,
    excess=AMOUNTS,
    open_reservations=INTEGERS,
    seq=INTEGERS,
    version=INTEGERS,
    recent=st.lists(st.text("0123456789abcdef", min_size=1, max_size=4), max_size=4).map(tuple),
    arrivals=st.builds(Arrivals, requests=INTEGERS, tokens=INTEGERS),
    transferred=AMOUNTS,
    granted=AMOUNTS,
    owner=TEXTS,
    owner_until=TEXTS,
)
FINDINGS = st.dictionaries(st.text("abc:_", min_size=1, max_size=4), st.integers(1, 2**31), max_size=4).map(Counter)
ROLLUPS = st.builds(
    Rollup,
    requests=INTEGERS,
    failed_requests=INTEGERS,
    tokens=INTEGERS,
    cost_pusd=INTEGERS,
    estimated_tokens=INTEGERS,
    content_filter_flags=INTEGERS,
    usage=USAGES,
    findings=FINDINGS,
)
ROLLUP_KEYS = st.builds(RollupKey, day=TEXTS, deployment=TEXTS, user=TEXTS, model=TEXTS, application=TEXTS)


@st.composite
def entries(draw: st.DrawFn) -> LedgerEntry:
    """Entries of every kind, with the optional fields that entries of that kind have."""
    kind, amount = draw(st.sampled_from(EntryKind)), draw(AMOUNTS)
    facts: dict[str, Any] = {}
    if kind is EntryKind.LIMIT:
        facts["limit"] = draw(LIMITS)
        facts["previous_limit"] = draw(st.none() | LIMITS)
    elif kind in (EntryKind.TRANSFER_IN, EntryKind.TRANSFER_OUT):
        facts["transferred"] = draw(AMOUNTS)
    elif kind is not EntryKind.CLOSE:
        facts["attempt"] = draw(ATTEMPTS)
        facts["outcome"] = draw(outcomes(kind, amount))
    texts: dict[str, Any] = {
        name: draw(TEXTS) for name in ("timestamp", "commit_id", "rid", "actor", "reason", "reference")
    }
    return LedgerEntry(seq=draw(INTEGERS), kind=kind, amount=amount, reserved=draw(AMOUNTS), **texts, **facts)


def outcomes(kind: EntryKind, amount: Amount) -> st.SearchStrategy[Outcome]:
    return st.builds(
        Outcome,
        kind=st.just(kind),
        amount=st.just(amount),
        usage=USAGES,
        status=INTEGERS,
        error_code=TEXTS,
        latency_ms=INTEGERS,
        estimated=st.booleans(),
        content_filter=TEXTS,
        service_tier=TEXTS,
        price_flags=TEXTS,
        corrected=TEXTS,
        superseded=st.booleans(),
    )


@given(entries(), TEXTS)
def test_every_entry_reads_back_from_its_row(entry: LedgerEntry, hash_: str) -> None:
    read = LedgerEntry.from_fields({**entry.fields(), "hash": hash_})
    assert read.hash == hash_
    assert LedgerEntry.from_fields(entry.fields()) == entry


@given(RESERVATIONS)
def test_every_reservation_reads_back_from_its_row(held: Reservation) -> None:
    assert RESERVATION.read(RESERVATION.write(held), rid=held.rid, lane=held.lane) == held


@given(BALANCES)
def test_every_balance_reads_back_from_its_row(balance: Balance) -> None:
    assert BALANCE.read(BALANCE.write(balance)) == balance
    assert balance.copy() == balance


@given(ROLLUP_KEYS, ROLLUPS)
def test_every_rollup_reads_back_from_its_row(key: RollupKey, rollup: Rollup) -> None:
    row = {**ROLLUP_KEY.write(key), **ROLLUP.write(rollup)}
    assert (ROLLUP_KEY.read(row), ROLLUP.read(row)) == (key, rollup)


@pytest.mark.parametrize("cls", [LedgerEntry, Balance, Rollup, RollupKey, Attempt, Usage, Amount, Limit])
def test_every_meaning_is_stated(cls: type) -> None:
    assert [field.name for field in Codec(cls).fields if not field.meaning.strip()] == []
