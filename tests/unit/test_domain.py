"""Money, prices, usage, identifiers, routing and statements."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.canonical_json import encode_canonical
from shared.domain.audit.hash_chain import HashChain, canonical, genesis
from shared.domain.billing.statements import Tally, cost_centers, statement, utilization_percent
from shared.domain.errors import InvalidRequest, UnpricedModel
from shared.domain.identifiers import BillingPeriod, checked_name, new_rid, timestamp
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Balance, LaneState, Refusal
from shared.domain.ledger.entries import EntryKind, LedgerEntry, Outcome
from shared.domain.pricing.money import (
    MAX_PERIOD_PUSD,
    allocate_cents,
    cents,
    parse_cents,
    parse_usd,
    pusd_from_usd,
    pusd_per_token,
    usd,
    usd_of_cents,
)
from shared.domain.pricing.price_book import (
    IMAGES,
    INPUT_TOKENS,
    SOUND,
    SPEECH,
    TOKENS,
    Price,
    PriceBook,
    PriceKey,
    images_of,
)
from shared.domain.pricing.usage import Meter, Usage, disjoint_usage
from shared.domain.stored_fields import Fields
from shared.domain.tenancy.keys import new_gateway_key, parse_gateway_key
from tests.tools.ledgers import PRICES, VERSION, attempt

EARLY = datetime(2020, 1, 1, tzinfo=UTC)
SKU = PriceKey(model="m", model_version="1", sku="Standard", region="eu1")


@pytest.mark.parametrize(
    ("pusd", "text"),
    [(0, "0.00"), (2_500_000, "0.0000025"), (10**12, "1.00"), (-15 * 10**11, "-1.50"), (1, "0.000000000001")],
)
def test_usd_is_exact(pusd: int, text: str) -> None:
    assert usd(pusd) == text


@given(st.integers(0, MAX_PERIOD_PUSD))
def test_usd_reads_back(pusd: int) -> None:
    assert pusd_from_usd(usd(pusd)) == pusd


@given(st.integers(-(10**30), 10**30))
def test_written_amounts_of_any_sign_and_size_read_back(amount: int) -> None:
    assert parse_usd(usd(amount)) == amount
    assert parse_cents(usd_of_cents(amount)) == amount


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "+1.00", "1e3", "NaN", " 1.00", "1.00\n", "\u0661.\u0660\u0660", "0.0000000000001"]
)
def test_text_that_is_no_written_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount in USD"):
        parse_usd(text)


def test_a_fraction_of_a_cent_is_no_amount_in_cents() -> None:
    with pytest.raises(ValueError, match="not a whole number of cents"):
        parse_cents("1.001")


@pytest.mark.parametrize("text", ["", "x", "-1", "NaN", "Infinity", "9000000.01", "1e-13", "1e30"])
def test_amounts_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must lie|not a decimal|more than 12"):
        pusd_from_usd(text)


def test_a_price_is_exact_to_six_decimals() -> None:
    assert (pusd_per_token("2.50"), pusd_per_token("0.000001")) == (2_500_000, 1)
    with pytest.raises(ValueError, match="more than 6 decimals"):
        pusd_per_token("0.0000001")


@pytest.mark.parametrize(
    ("pusd", "rounded"), [(5 * 10**9, 0), (15 * 10**9, 2), (25 * 10**9, 2), (25 * 10**9 + 1, 3), (-15 * 10**9, -2)]
)
def test_cents_are_rounded_half_even(pusd: int, rounded: int) -> None:
    assert cents(pusd) == rounded


def test_cents_are_written_with_two_decimals() -> None:
    assert [usd_of_cents(amount) for amount in (0, 5, 123, -1)] == ["0.00", "0.05", "1.23", "-0.01"]


@given(st.dictionaries(st.tuples(st.text(max_size=3)), st.integers(-(10**12), 10**13), max_size=40))
def test_lines_always_add_up_to_the_rounded_total(lines: dict[tuple[str, ...], int]) -> None:
    allocated = allocate_cents(lines)
    assert sum(allocated.values()) == cents(sum(lines.values()))
    assert all(abs(allocated[key] * 10**10 - exact) <= 10**10 for key, exact in lines.items())


def test_ties_of_remainders_go_by_key() -> None:
    assert allocate_cents({("b",): 5 * 10**9, ("a",): 5 * 10**9}) == {("a",): 1, ("b",): 0}


@given(*(st.integers(-5, 50) for _ in range(7)))
def test_meters_are_disjoint_whatever_upstream_says(
    prompt: int, completion: int, cached: int, written: int, audio_in: int, audio_out: int, reasoning: int
) -> None:
    usage = disjoint_usage(
        prompt=prompt,
        completion=completion,
        cached=cached,
        cache_write=written,
        audio_in=audio_in,
        audio_out=audio_out,
        reasoning=reasoning,
    )
    assert usage.total_tokens == max(0, prompt) + max(0, completion)
    assert min(*usage.buckets, usage.reasoning) >= 0


def test_usage_adds_and_subtracts() -> None:
    assert Usage(input=1, cached_input=2, cache_write=3, audio_input=4, output=5, audio_output=6, reasoning=7) + Usage(
        input=1
    ) - Usage(input=0, cached_input=2) == Usage(
        input=2, cached_input=0, cache_write=3, audio_input=4, output=5, audio_output=6, reasoning=7
    )


def test_the_most_specific_and_then_the_latest_price_counts() -> None:
    later = EARLY + timedelta(days=10)
    rows = [
        Price(model="m", meter=Meter.INPUT, usd_per_million="1", effective_from=EARLY),
        Price(model="m", meter=Meter.INPUT, usd_per_million="2", effective_from=EARLY, sku="Standard"),
        Price(model="m", meter=Meter.INPUT, usd_per_million="3", effective_from=later, sku="Standard"),
        Price(model="m", meter=Meter.INPUT, usd_per_million="9", effective_from=later + timedelta(days=1)),
        Price(model="m", meter=Meter.INPUT, usd_per_million="7", effective_from=EARLY, sku="Standard", region="us1"),
        Price(model="m", meter=Meter.OUTPUT, usd_per_million="4", effective_from=EARLY, model_version="1"),
        Price(model="m", meter=Meter.OUTPUT, usd_per_million="8", effective_from=EARLY, model_version="2"),
    ]
    book = PriceBook(rows)
    assert book.rate_card(SKU, EARLY).pusd_per_unit[0] == 2_000_000
    assert book.rate_card(SKU, later).pusd_per_unit[0] == 3_000_000
    assert book.rate_card(SKU, later).cost(Usage(input=1, cached_input=1, output=1, audio_output=1)) == 14_000_000
    assert book.rate_card(SKU, later).bound(2, 3) == 18_000_000
    assert book.rate_card(SKU, EARLY) is book.rate_card(SKU, EARLY + timedelta(days=1))


def test_what_is_not_priced_is_refused() -> None:
    book = PriceBook([Price(model="m", meter=Meter.INPUT, usd_per_million="1", effective_from=EARLY)])
    with pytest.raises(UnpricedModel, match="No price is known for output of model"):
        book.rate_card(SKU, EARLY)
    with pytest.raises(UnpricedModel, match="input and output"):
        book.rate_card(SKU, EARLY - timedelta(days=1))
    with pytest.raises(UnpricedModel, match="not in the price book"):
        book.of_version("0123456789")


def test_a_price_id_tells_rows_apart_and_recognises_the_same() -> None:
    row = Price(model="m", meter=Meter.INPUT, usd_per_million="1", effective_from=EARLY)
    assert (
        row.price_id
        == Price(model="m", meter=Meter.INPUT, usd_per_million="1", effective_from=EARLY, source="elsewhere").price_id
    )
    assert (
        len(
            {
                row.price_id,
                Price(model="m", meter=Meter.OUTPUT, usd_per_million="1", effective_from=EARLY).price_id,
                Price(model="m", meter=Meter.INPUT, usd_per_million="2", effective_from=EARLY).price_id,
            }
        )
        == 3
    )


def test_periods_follow_each_other() -> None:
    december = BillingPeriod.parse("2026-12")
    assert (str(december.next()), str(december.previous()), str(december.next().previous())) == (
        "2027-01",
        "2026-11",
        "2026-12",
    )
    assert (december.start, december.end) == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert BillingPeriod.containing(december.end) == december.next()


def test_rids_are_uuids_of_version_7_in_order_of_time() -> None:
    rids = [new_rid() for _ in range(50)]
    assert len(set(rids)) == 50
    assert all(len(rid) == 32 and rid[12] == "7" and rid[16] in "89ab" for rid in rids)
    assert [rid[:12] for rid in rids] == sorted(rid[:12] for rid in rids)


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "a\x00", "x" * 129])
def test_names_are_printable_and_bounded(name: str) -> None:
    with pytest.raises(InvalidRequest):
        checked_name(name, "deployment")


def test_times_are_written_in_utc() -> None:
    assert timestamp(datetime.fromisoformat("2026-11-22T01:02:03.004567+01:00")) == "2026-11-22T00:02:03.004Z"


def test_keys_are_found_by_their_tenant_and_never_shown() -> None:
    key, credential = new_gateway_key("a-b", EARLY, None)
    parsed = parse_gateway_key(credential)
    assert parsed is not None
    assert parsed[:2] == ("a-b", key.key_id)
    assert key.accepts(parsed[2], lambda: EARLY)
    assert not key.accepts(parsed[2] + "x", lambda: EARLY)
    assert parsed[2] not in repr(key)
    assert key.secret_sha256 not in repr(key)


def test_a_key_is_accepted_until_it_expires() -> None:
    key, credential = new_gateway_key("a-b", EARLY, EARLY + timedelta(hours=1))
    parsed = parse_gateway_key(credential)
    assert parsed is not None
    assert key.accepts(parsed[2], lambda: EARLY + timedelta(minutes=59))
    assert not key.accepts(parsed[2], lambda: EARLY + timedelta(hours=1))


def test_the_chain_hides_its_key_and_depends_on_everything() -> None:
    chain = HashChain(b"secret-key")
    assert "secret-key" not in repr(chain)
    start = genesis("2026-11", "acme|00")
    assert start != genesis("2026-12", "acme|00")
    heads = {chain.extend(start, {"a": 1}), chain.extend(start, {"a": 2}), HashChain(b"x").extend(start, {"a": 1})}
    assert len(heads) == 3
    assert canonical({"b": "ü", "a": True}) == '{"a":true,"b":"ü"}'.encode()


def test_a_statement_adds_up() -> None:
    tally = Tally(PriceBook(PRICES))
    charge = Outcome(
        kind=EntryKind.CHARGE,
        amount=Amount(30, 175 * 10**6),
        usage=Usage(input=10, cached_input=5, output=15),
        status=200,
    )
    failed = Outcome(kind=EntryKind.VOID, status=500)
    for outcome in (charge, charge, failed):
        tally.add(
            LedgerEntry(
                seq=1,
                kind=outcome.kind,
                timestamp="t",
                commit_id="c",
                rid="r",
                amount=outcome.amount,
                attempt=attempt(),
                outcome=outcome,
            )
        )
    late = Outcome(kind=EntryKind.LATE, amount=Amount(), usage=Usage(), status=200)
    tally.add(
        LedgerEntry(seq=4, kind=EntryKind.LATE, timestamp="t", commit_id="c", rid="r", attempt=attempt(), outcome=late)
    )
    tally.add(LedgerEntry(seq=5, kind=EntryKind.CLOSE, timestamp="t", commit_id="c"))
    balance = Balance(head="head", limit=Limit(100, None), used=Amount(60, tally.sums.cost_pusd), seq=4)
    bill = statement("acme", "Acme", "CC-1", {}, balance, {"00": "head"}, tally)
    assert sum(line.cost_pusd for line in bill.lines) == sum(
        line.quantity * rate for line, rate in zip(bill.lines, (2_500_000, 2_500_000, 10_000_000), strict=True)
    )
    assert sum(line.cost_cents for line in bill.lines) == bill.cost_cents
    assert (bill.requests, bill.failed_requests, bill.tokens_used) == (3, 1, 60)
    assert cost_centers([bill, bill]) == {"CC-1": 2 * bill.cost_cents}


@pytest.mark.parametrize(("used", "quota", "percent"), [(5, None, None), (5, 0, 100.0), (1, 3, 33.3), (0, 9, 0.0)])
def test_utilization(used: int, quota: int | None, percent: float | None) -> None:
    assert utilization_percent(used, quota) == percent


def test_entries_read_back_from_their_fields() -> None:
    outcome = Outcome(
        kind=EntryKind.CHARGE,
        amount=Amount(3, 4),
        usage=Usage(input=3, reasoning=1),
        status=200,
        error_code="x",
        latency_ms=5,
        estimated=True,
        content_filter="hate",
    )
    entries = [
        LedgerEntry(
            seq=1,
            kind=EntryKind.CHARGE,
            timestamp="t",
            commit_id="c",
            rid="r",
            amount=Amount(3, 4),
            reserved=Amount(5, 6),
            attempt=attempt(streamed=True),
            outcome=outcome,
        ),
        LedgerEntry(
            seq=2, kind=EntryKind.LIMIT, timestamp="t", commit_id="c", limit=Limit(None, 0), actor="boss", reason="why"
        ),
        LedgerEntry(seq=3, kind=EntryKind.CLOSE, timestamp="t", commit_id="c"),
    ]
    for entry in entries:
        assert LedgerEntry.from_fields(entry.fields()) == entry
    assert entries[0].fields()["price_version"] == VERSION


@given(st.dictionaries(st.text(), st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans()))
def test_the_faster_encoder_gives_the_canonical_bytes(fields: Fields) -> None:
    assert encode_canonical(fields) == canonical(fields)


@pytest.mark.parametrize(
    ("balance", "amount", "refusal"),
    [
        (Balance(head="", limit=Limit(10), used=Amount(4), reserved=Amount(3)), Amount(3), None),
        (Balance(head="", limit=Limit(10), used=Amount(4), reserved=Amount(3)), Amount(4), Refusal.TOKENS),
        (Balance(head="", limit=Limit(None, 10), used=Amount(9, 4), reserved=Amount(9, 3)), Amount(9, 3), None),
        (
            Balance(head="", limit=Limit(None, 10), used=Amount(0, 4), reserved=Amount(0, 3)),
            Amount(0, 4),
            Refusal.MONEY,
        ),
        (Balance(head="", limit=Limit()), Amount(10**15, MAX_PERIOD_PUSD), None),
        (Balance(head="", limit=Limit()), Amount(0, MAX_PERIOD_PUSD + 1), Refusal.MONEY),
        (Balance(head="", limit=Limit(10), state=LaneState.CLOSING), Amount(1), Refusal.NOT_OPEN),
        (Balance(head="", limit=Limit(10), state=LaneState.CLOSED), Amount(1), Refusal.NOT_OPEN),
    ],
)
def test_admission_is_exact_in_both_units(balance: Balance, amount: Amount, refusal: Refusal | None) -> None:
    assert balance.refusal(amount) is refusal


def test_each_basis_has_a_name_of_its_own() -> None:
    bases = [TOKENS, INPUT_TOKENS, IMAGES, SPEECH, SOUND]
    assert len({basis.name for basis in bases}) == len({basis.alternatives for basis in bases}) == len(bases)


def test_images_are_priced_by_variant() -> None:
    book = PriceBook(
        [
            Price(model="dall-e-3", meter=Meter.IMAGES, usd_per_million="40000", effective_from=EARLY),
            Price(
                model="dall-e-3",
                meter=Meter.IMAGES,
                usd_per_million="120000",
                effective_from=EARLY,
                variant="hd 1024x1792",
            ),
        ]
    )
    sku = PriceKey(model="dall-e-3", model_version="1", sku="Standard", region="eu1")
    for variant, pusd in (("standard 1024x1024", 4 * 10**10), ("hd 1024x1792", 12 * 10**10)):
        card = book.rate_card(sku, EARLY, images_of(variant))
        assert (card.cost(Usage(images=2)), card.charges_tokens) == (2 * pusd, False)
        assert card.bound(100, 100, Usage(images=2)) == 2 * pusd


def test_what_is_priced_by_image_is_not_charged_its_tokens_too() -> None:
    prices = [
        Price(model="m", meter=meter, usd_per_million="1", effective_from=EARLY)
        for meter in (Meter.INPUT, Meter.OUTPUT, Meter.IMAGES)
    ]
    sku = PriceKey(model="m", model_version="1", sku="Standard", region="eu1")
    card = PriceBook(prices).rate_card(sku, EARLY, IMAGES)
    assert card.cost(Usage(input=5, output=5, images=1)) == 10**6
