"""Whoever can write to the tables changes rows. `tallygate verify` finds each change and names its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pytest
from azure.data.tables import EdmType, EntityProperty

from shared.cli.__main__ import run
from shared.domain.audit.hash_chain import HashChain, genesis
from shared.domain.stored_fields import Fields
from tests.adversary.auditors.conftest import CLOSED, OPEN, Entity, KeptBooks, Tables
from tests.tools.earlier_chain import EarlierChain

LEDGER: Final = "ledger" + OPEN.replace("-", "")
ROLLUP: Final = "rollup" + OPEN.replace("-", "")
CLOSED_LEDGER: Final = "ledger" + CLOSED.replace("-", "")
ACME: Final = "acme|00"
FAR: Final = "9999-01-01T00:00:00.000Z"
Captured: TypeAlias = pytest.CaptureFixture[str]


def entry(seq: int) -> str:
    """Return the key of an entry."""
    return f"E|{seq:016}"


@dataclass(frozen=True, slots=True)
class Tampering:
    """A change of rows, and what must be found."""

    change: Callable[[Tables], object]
    invariant: str
    table: str = LEDGER
    partition: str = ACME
    row: str | None = "B"
    """`None` if any row may be named."""
    property_name: str = ""
    period: str = OPEN


def key_of(tables: Tables, prefix: str, partition: str = ACME, table: str = LEDGER) -> str:
    """Return the first key with a prefix."""
    return min(key for key in tables.rows(table, partition) if key.startswith(prefix))


def last_entry(tables: Tables, partition: str = ACME, table: str = LEDGER) -> Entity:
    return tables.row(table, partition, max(key for key in tables.rows(table, partition) if key.startswith("E|")))


def change_of(
    key: str, *, table: str = LEDGER, partition: str = ACME, **properties: object
) -> Callable[[Tables], None]:
    return lambda tables: tables.change(table, partition, key, **properties)


def first_of(prefix: str, act: Callable[[Tables, str], object]) -> Callable[[Tables], object]:
    """Act on the first row with a prefix."""
    return lambda tables: act(tables, key_of(tables, prefix))


def int64(value: int) -> EntityProperty:
    return EntityProperty(value, EdmType.INT64)


def insert_beyond(tables: Tables, key: str = "") -> None:
    """Insert the entry that the tenant's next request would write."""
    last = last_entry(tables)
    seq = last["seq"].value + 1
    tables.write(LEDGER, {**last, "RowKey": key or entry(seq), "seq": int64(seq)})


def roll_back(tables: Tables) -> None:
    """Remove the last entry, and bring the balance back that stood before it, which held its reservation."""
    last, balance = last_entry(tables), tables.row(LEDGER, ACME, "B")
    before = tables.row(LEDGER, ACME, entry(last["seq"].value - 1))
    tables.delete(LEDGER, ACME, last["RowKey"])
    earlier: Entity = {"seq": int64(last["seq"].value - 1), "head": before["hash"]}
    for unit in ("tokens", "pusd"):
        earlier[f"used_{unit}"] = int64(balance[f"used_{unit}"].value - last[unit].value)
        earlier[f"reserved_{unit}"] = int64(balance[f"reserved_{unit}"].value + last[f"reserved_{unit}"].value)
    tables.change(LEDGER, ACME, "B", **earlier, open_reservations=balance["open_reservations"] + 1)


def roll_back_below_watermark(tables: Tables) -> None:
    for _ in range(3):
        roll_back(tables)


def forge(tables: Tables) -> None:
    """Remove the last entry, and write a balance that fits the others."""
    roll_back(tables)
    tables.change(LEDGER, ACME, "B", open_reservations=1, reserved_tokens=int64(30), reserved_pusd=int64(225_000_000))


def forge_under_a_lease(tables: Tables) -> None:
    """Forge the balance of a vault as if it was leased, because leases write no entry."""
    forge(tables)
    tables.change(LEDGER, ACME, "B", owner="me", owner_until="2020")


def remove_tenant(tables: Tables, partition: str = ACME) -> None:
    tables.delete(LEDGER, partition)
    tables.delete("registry", OPEN, partition)


def remove_every_trace_in(tables: Tables) -> None:
    remove_tenant(tables)
    tables.delete(ROLLUP, ACME)


def remove_tenant_and_document(tables: Tables) -> None:
    remove_every_trace_in(tables)
    tables.delete("tenants", "acme")


def give_responses_to_a_stranger(tables: Tables) -> None:
    tables.write(f"responses{OPEN.replace('-', '')}", {"PartitionKey": "stranger", "RowKey": "r1", "deployment": "x"})


def move_lane(tables: Tables) -> None:
    """Copy a tenant's rows to a partition that the registry does not name."""
    for entity in tables.rows(LEDGER, ACME).values():
        tables.write(LEDGER, {**entity, "PartitionKey": "shadow|00"})


def change_document(table: str, partition: str, key: str, **fields: object) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        document = json.loads(tables.row(table, partition, key)["document"])
        tables.change(table, partition, key, document=json.dumps({**document, **fields}))

    return change


def first_price(tables: Tables) -> str:
    return min(tables.rows("prices", "gpt-4o"))


def reprice(tables: Tables) -> None:
    change_document("prices", "gpt-4o", first_price(tables), usd_per_million="0.01")(tables)


def add_band(tables: Tables, **fields: object) -> None:
    """Add a price for the same key to the row of another."""
    price = json.loads(tables.row("prices", "gpt-4o", first_price(tables))["document"])
    change_document("prices", "gpt-4o", first_price(tables), other_bands=[{**price, **fields}])(tables)


def rename_price(tables: Tables) -> None:
    tables.write("prices", {**tables.row("prices", "gpt-4o", first_price(tables)), "RowKey": "k0"})


def swap(tables: Tables, first: str, second: str) -> None:
    one, two = tables.row(LEDGER, ACME, first), tables.row(LEDGER, ACME, second)
    tables.write(LEDGER, {**one, "RowKey": second})
    tables.write(LEDGER, {**two, "RowKey": first})


def seal_again(tables: Tables, chain: HashChain, *, table: str = LEDGER, first: int = 1, **properties: object) -> None:
    """Change an entry of a lane, and chain it and all after it anew, with whatever key is at hand."""
    period = f"{table[6:10]}-{table[10:]}"
    rows = tables.rows(table, ACME)
    entries = [rows[key] for key in sorted(rows) if key.startswith("E|")]
    head = entries[first - 2]["hash"] if first > 1 else genesis(period, ACME)
    entries[first - 1].update(properties)
    for each in entries[first - 1 :]:
        kept = {name: value for name, value in each.items() if name not in _SEAL}
        fields: Fields = {name: getattr(kept[name], "value", kept[name]) for name in kept.keys() - _KEYS}
        head = chain.seal(head, fields)
        tables.write(table, {**kept, **{name: fields[name] for name in _SEAL & fields.keys()}})
    tables.change(table, ACME, "B", head=head)


_KEYS: Final = frozenset({"PartitionKey", "RowKey"})
_SEAL: Final = frozenset({"method", "key_version", "hash", "mac"})


TAMPERINGS: dict[str, Tampering] = {
    # entries
    "an entry gets another property": Tampering(
        change_of(entry(1), note="paid"), "I15", row=entry(1), property_name="note"
    ),
    "an entry loses a property": Tampering(change_of(entry(1), user=None), "I2", row=entry(1)),
    "an entry has another value": Tampering(change_of(entry(1), user="eve"), "I2", row=entry(1)),
    "a status is text": Tampering(change_of(entry(1), status="200"), "I15", row=entry(1), property_name="status"),
    "a number of 64 bits is text": Tampering(
        change_of(entry(1), tokens="17"), "I15", row=entry(1), property_name="tokens"
    ),
    "a number of 64 bits has 32": Tampering(
        change_of(entry(1), tokens=17), "I15", row=entry(1), property_name="tokens"
    ),
    "a number of 32 bits has 64": Tampering(
        change_of(entry(1), status=int64(200)), "I15", row=entry(1), property_name="status"
    ),
    "a number is a fraction": Tampering(change_of(entry(1), status=200.0), "I15", row=entry(1), property_name="status"),
    "a kind is unknown": Tampering(change_of(entry(1), kind="gift"), "I15", row=entry(1)),
    "an entry loses its mac": Tampering(change_of(entry(1), mac=None), "I2", row=entry(1), property_name="mac"),
    "the macs of two entries change places": Tampering(
        lambda t: t.change(LEDGER, ACME, entry(1), mac=t.row(LEDGER, ACME, entry(2))["mac"]),
        "I2", row=entry(1), property_name="mac",
    ),
    "a mac is a number": Tampering(change_of(entry(1), mac=7), "I2", row=entry(1), property_name="mac"),
    "an entry loses its method": Tampering(change_of(entry(1), method=None), "I2", row=entry(1)),
    "an entry gets another method": Tampering(
        change_of(entry(1), method="md5"), "I2", row=entry(1), property_name="method"
    ),
    "an entry loses all that earlier versions did not write": Tampering(
        change_of(entry(1), method=None, key_version=None, mac=None), "I2", row=entry(1)
    ),
    "an entry names another version of the key": Tampering(change_of(entry(1), key_version="1"), "I2", row=entry(1)),
    "the last entry is written as by an earlier version": Tampering(
        lambda t: seal_again(t, EarlierChain(b"guessed"), first=last_entry(t)["seq"].value), "I2", row=None
    ),
    "an entry is removed": Tampering(lambda tables: tables.delete(LEDGER, ACME, entry(2)), "I1", row=entry(3)),
    "two entries change places": Tampering(lambda tables: swap(tables, entry(1), entry(2)), "I1", row=entry(1)),
    "an entry stands beyond the last": Tampering(insert_beyond, "I1", row=None),
    "an entry stands between two": Tampering(
        lambda tables: insert_beyond(tables, entry(1) + "x"), "I1", row=entry(1) + "x"
    ),
    "an entry has a key of another form": Tampering(lambda tables: insert_beyond(tables, "E|7"), "I1", row="E|7"),
    # the balance
    "the balance is deleted": Tampering(lambda tables: tables.delete(LEDGER, ACME, "B"), "I16"),
    "used is less": Tampering(change_of("B", used_tokens=int64(1)), "I3", property_name="used_tokens"),
    "reserved is less": Tampering(change_of("B", reserved_pusd=int64(0)), "I4", property_name="reserved_pusd"),
    "no reservation is open": Tampering(change_of("B", open_reservations=0), "I4", property_name="open_reservations"),
    "the excess is another": Tampering(change_of("B", excess_tokens=int64(9)), "I7", property_name="excess_tokens"),
    "the limit is higher": Tampering(change_of("B", limit_tokens=int64(10**9)), "I8", property_name="limit_tokens"),
    "the first limit is another": Tampering(
        change_of("B", limit0_tokens=int64(10**9)), "I8", property_name="limit0_tokens"
    ),
    "the grants are forgotten": Tampering(
        change_of("B", granted_tokens=None, granted_pusd=None), "I8", property_name="granted_tokens"
    ),
    "a transfer is added": Tampering(
        change_of("B", moved_tokens=int64(500)), "I8", property_name="moved_tokens"
    ),
    "the state is closed": Tampering(change_of("B", state="CLOSED"), "I9", property_name="state"),
    "the state is unknown": Tampering(change_of("B", state="FREE"), "I15"),
    "the state of a closed lane is unknown": Tampering(
        change_of("B", table=CLOSED_LEDGER, state="FREE"), "I15", CLOSED_LEDGER, period=CLOSED
    ),
    "the head is another": Tampering(change_of("B", head="0" * 64), "I2", property_name="head"),
    "the number of commits is less": Tampering(change_of("B", version=int64(3)), "I1", property_name="version"),
    "the recent commits are forgotten": Tampering(change_of("B", recent=""), "I1", property_name="recent"),
    "the balance gets a property": Tampering(change_of("B", note="mine"), "I15", property_name="note"),
    "the balance loses a property": Tampering(change_of("B", excess_pusd=None), "I15", property_name="excess_pusd"),
    "a closed lane is open again": Tampering(
        change_of("B", table=CLOSED_LEDGER, state="OPEN"), "I9", CLOSED_LEDGER, property_name="state", period=CLOSED
    ),
    "balance and last entry are rolled back": Tampering(roll_back, "I4", property_name="open_reservations"),
    "the last entry is removed from a forged balance": Tampering(forge, "I1", property_name="recent"),
    "an open month is closing": Tampering(change_of("B", state="CLOSING"), "I9", property_name="state"),
    "a lane of an open month is closing": Tampering(
        change_of("B", partition="hot|01", state="CLOSING"), "I9", partition="hot|01", property_name="state"
    ),
    "a lane is leased for ever": Tampering(
        change_of("B", partition="hot|01", owner="me", owner_until="9999"), "I14", partition="hot|01",
        property_name="owner_until",
    ),
    "a vault is leased": Tampering(change_of("B", owner="me", owner_until=FAR), "I15", property_name="owner"),
    "a lease hides that the last entry is removed": Tampering(
        forge_under_a_lease, "I1", property_name="recent"
    ),
    "the limit a minute refuses all requests": Tampering(
        change_of("B", requests_arrival=int64(2**52)), "I14", property_name="requests_arrival"
    ),
    # reservations, markers, marks, transfers
    "a reservation never ends": Tampering(
        first_of("P|", lambda t, key: t.change(LEDGER, ACME, key, deadline=FAR)), "I14", row=None,
        property_name="deadline",
    ),
    "the deadline of a reservation is none": Tampering(
        first_of("P|", lambda t, key: t.change(LEDGER, ACME, key, deadline="never")), "I14", row=None,
        property_name="deadline",
    ),
    "a reservation is deleted": Tampering(
        first_of("P|", lambda t, key: t.delete(LEDGER, ACME, key)), "I4", property_name="open_reservations"
    ),
    "a reservation holds less": Tampering(
        first_of("P|", lambda t, key: t.change(LEDGER, ACME, key, tokens=int64(1))),
        "I4", property_name="reserved_tokens",
    ),
    "a reservation has a price that is none": Tampering(
        first_of("P|", lambda t, key: t.change(LEDGER, ACME, key, price_version="0")), "I10", row=None,
        property_name="price_version",
    ),
    "a marker is deleted": Tampering(first_of("X|", lambda t, key: t.delete(LEDGER, ACME, key)), "I6", row=None),
    "a marker says less": Tampering(
        first_of("X|", lambda t, key: t.change(LEDGER, ACME, key, pusd=int64(0))), "I6", row=None
    ),
    "a marker is of nothing": Tampering(
        lambda t: t.write(LEDGER, {**t.row(LEDGER, ACME, key_of(t, "X|")), "RowKey": "X|0"}), "I6", row="X|0"
    ),
    "a marker cannot be read": Tampering(
        first_of("X|", lambda t, key: t.change(LEDGER, ACME, key, tokens="much")), "I15", row=None,
        property_name="tokens",
    ),
    "a mark is deleted": Tampering(first_of("L|", lambda t, key: t.delete(LEDGER, ACME, key)), "I6", row=None),
    "a mark is of nothing": Tampering(
        lambda t: t.write(LEDGER, {"PartitionKey": ACME, "RowKey": "L|0"}), "I6", row="L|0"
    ),
    "a transfer is deleted": Tampering(
        lambda t: t.delete(LEDGER, "hot|00", key_of(t, "G|", "hot|00")), "I8", partition="hot|00", row=None
    ),
    "a transfer says more": Tampering(
        lambda t: t.change(LEDGER, "hot|00", key_of(t, "G|", "hot|00"), tokens=int64(1)),
        "I8", partition="hot|00", row=None,
    ),
    "a transfer is of nothing": Tampering(
        lambda t: t.write(LEDGER, {**t.row(LEDGER, "hot|00", key_of(t, "G|", "hot|00")), "RowKey": "G|0"}),
        "I8", partition="hot|00", row="G|0",
    ),
    "a transfer has no direction": Tampering(
        lambda t: t.change(LEDGER, "hot|01", key_of(t, "G|", "hot|01"), direction="aside"),
        "I15", partition="hot|01", row=None,
    ),
    "a marker lacks a sum of zero": Tampering(
        lambda t: t.change(LEDGER, ACME, key_of(t, "X|"), pusd=None), "I15", row=None, property_name="pusd"
    ),
    "a marker has a sum of zero that none has": Tampering(
        lambda t: t.change(LEDGER, ACME, key_of(t, "X|"), usage_images=int64(0)),
        "I15", row=None, property_name="usage_images",
    ),
    "a closed lane has another recent commit": Tampering(
        lambda t: t.change(
            CLOSED_LEDGER, ACME, "B", recent=t.row(CLOSED_LEDGER, ACME, "B")["recent"].replace(",", ",x", 1)
        ),
        "I9", CLOSED_LEDGER, period=CLOSED,
    ),
    "a closed lane has another limit a minute": Tampering(
        change_of("B", table=CLOSED_LEDGER, requests_arrival=int64(5)), "I9", CLOSED_LEDGER, period=CLOSED
    ),
    "a row is of no kind": Tampering(
        lambda t: t.write(LEDGER, {"PartitionKey": ACME, "RowKey": "Z|1"}), "I15", row="Z|1"
    ),
    # rollups
    "a rollup says less": Tampering(
        lambda t: t.change(ROLLUP, ACME, key_of(t, "R|", table=ROLLUP), requests=0), "I11", ROLLUP, row=None
    ),
    "a rollup lacks a sum of zero": Tampering(
        lambda t: t.change(ROLLUP, ACME, key_of(t, "R|", table=ROLLUP), usage_images=None),
        "I15", ROLLUP, row=None, property_name="usage_images",
    ),
    "a rollup is deleted": Tampering(
        lambda t: t.delete(ROLLUP, ACME, key_of(t, "R|", table=ROLLUP)), "I11", ROLLUP, row=None
    ),
    "a rollup stands under another key": Tampering(
        lambda t: t.write(ROLLUP, {**t.row(ROLLUP, ACME, key_of(t, "R|", table=ROLLUP)), "RowKey": "R|x"}),
        "I15", ROLLUP, row="R|x",
    ),
    "the watermark is higher": Tampering(
        change_of("W", table=ROLLUP, seq=int64(10**6)), "I11", ROLLUP, row="W", property_name="seq"
    ),
    "the watermark is text": Tampering(
        change_of("W", table=ROLLUP, seq="8"), "I15", ROLLUP, row="W", property_name="seq"
    ),
    "the rollups have a row of no kind": Tampering(
        lambda t: t.write(ROLLUP, {"PartitionKey": ACME, "RowKey": "Q"}), "I15", ROLLUP, row="Q"
    ),
    "more entries are rolled back than were ever rolled up": Tampering(
        roll_back_below_watermark, "I11", ROLLUP, row="W", property_name="seq"
    ),
    # registry, tenants, prices
    "a lane is not registered": Tampering(lambda t: t.delete("registry", OPEN, ACME), "I16", row=""),
    "a tenant is removed with its registration": Tampering(remove_tenant, "I16", row=""),
    "a tenant is removed with its rollups": Tampering(
        remove_every_trace_in, "I16", "registry", OPEN, row=ACME
    ),
    "a tenant without requests is removed": Tampering(
        lambda t: remove_tenant(t, "idle|00"), "I16", "registry", OPEN,
        row="idle|00",
    ),
    "only the entries of a tenant remain": Tampering(
        lambda t: t.delete(LEDGER, ACME, *(key for key in t.rows(LEDGER, ACME) if key[0] != "E")), "I16"
    ),
    "rows stand in a partition of their own": Tampering(move_lane, "I16", partition="shadow|00", row=""),
    "a partition has another form of name": Tampering(
        lambda t: t.write(LEDGER, {"PartitionKey": "acme", "RowKey": "B"}), "I16", partition="acme", row=""
    ),
    "the registry has another form of name": Tampering(
        lambda t: t.write("registry", {"PartitionKey": OPEN, "RowKey": "acme"}), "I16", "registry", OPEN, row="acme"
    ),
    "the registry has a property": Tampering(
        lambda t: t.change("registry", OPEN, ACME, note="x"), "I16", "registry", OPEN, row=ACME, property_name="note"
    ),
    "a document has another quota": Tampering(
        change_document("tenants", "acme", "tenant", monthly_quota_tokens=10**9), "I17", property_name="limit_tokens"
    ),
    "a document is removed": Tampering(
        lambda t: t.delete("tenants", "acme"), "I16", "registry", OPEN, row=ACME
    ),
    "a document and its books are removed": Tampering(
        remove_tenant_and_document, "I16", "credentials", "acme", row=""
    ),
    "a document cannot be read": Tampering(
        change_document("tenants", "acme", "tenant", created_at="yesterday"), "I16", "tenants", "acme", row=""
    ),
    "responses are of a tenant without books": Tampering(
        give_responses_to_a_stranger, "I16", "registry", OPEN, row="stranger|00"
    ),
    "a price is another": Tampering(reprice, "I10", row=entry(1), property_name="price_version"),
    "a second price is put beside the first": Tampering(
        lambda t: add_band(t, usd_per_million="0.01"), "I10", "prices", "gpt-4o", row=None
    ),
    "a price stands under another key": Tampering(rename_price, "I10", "prices", "gpt-4o", row="k0"),
    "a price is removed": Tampering(lambda t: t.delete("prices", "gpt-4o", first_price(t)), "I10", row=entry(1),
                                    property_name="price_version"),
    "a price cannot be read": Tampering(
        lambda t: change_document("prices", "gpt-4o", first_price(t), meter="gold")(t), "I10", "prices", "gpt-4o",
        row=None,
    ),
}  # fmt: skip


def verified(capsys: Captured, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run `tallygate verify`. Returns its status and its document."""
    status = run(["verify", *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def names(finding: dict[str, str], tampering: Tampering) -> bool:
    """Tell whether a finding names the place of a tampering."""
    place = (finding["invariant"], finding["table"], finding["partition"], finding["property"])
    stated = (tampering.invariant, tampering.table, tampering.partition, tampering.property_name)
    return place == stated and tampering.row in (None, finding["row"])


@pytest.mark.parametrize("period", [CLOSED, OPEN])
def test_books_that_nobody_tampered_with_hold(period: str, books: KeptBooks, capsys: Captured) -> None:
    status, document = verified(capsys, "--period", period)
    assert (status, document["tenants"], document["findings"]) == (0, 3, [])


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
def test_each_tampering_is_found_and_named(tampering: Tampering, books: KeptBooks, capsys: Captured) -> None:
    tampering.change(books.tables)
    status, document = verified(capsys, "--period", tampering.period)
    assert status == 1
    assert document["holds"][tampering.invariant] is False
    assert any(names(finding, tampering) for finding in document["findings"]), document["findings"]


def test_a_damaged_document_is_named_where_one_tenant_is_verified(books: KeptBooks, capsys: Captured) -> None:
    change_document("tenants", "acme", "tenant", created_at="yesterday")(books.tables)
    status, document = verified(capsys, "--period", OPEN, "--tenant", "acme")
    assert status == 1
    assert {(each["table"], each["partition"]) for each in document["findings"]} == {("tenants", "acme")}
    assert verified(capsys, "--period", OPEN, "--tenant", "idle")[0] == 0


def test_a_damaged_document_hides_no_other_tenant(books: KeptBooks, capsys: Captured) -> None:
    change_document("tenants", "acme", "tenant", created_at="yesterday")(books.tables)
    change_document("tenants", "idle", "tenant", monthly_quota_tokens=7)(books.tables)
    _, document = verified(capsys, "--period", OPEN)
    found = {(each["tenant_id"], each["invariant"]) for each in document["findings"]}
    assert found == {("acme", "I16"), ("acme", "I19"), ("idle", "I17"), ("idle", "I19")}
