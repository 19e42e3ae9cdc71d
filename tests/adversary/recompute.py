"""Recompute the books of a storage account from its rows, without any code of the gateway.

    python -m tests.adversary.recompute --period 2026-11

It reads the tables with azure-data-tables, and the statements of closed months with azure-storage-blob. Account, key
and endpoints are those of the gateway's settings (`TALLYGATE_TABLE_ENDPOINT` and so on) unless options name others.
Nothing is written. It computes with its own arithmetic, and prints each difference. Exit status: 0 all agree,
1 something differs, 2 it could not be computed.

- Balances: used, reserved, excess, transfers, open reservations and number of entries, from entries and reservations.
- Reservations: each ends once, and none is both open and resolved. Admission kept within the limit.
- Costs: usage times price, by the price version that the entry names, from the rows of the price book.
- Rollups and statements: their totals.
- The hash chain: every SHA-256. Macs, and the hashes of entries that state no method, only by the keys that
  AUDIT_CHAIN_KEY and AUDIT_CHAIN_KEYS give. It tells how many it did not check.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import groupby
from typing import Any, Final, TypeAlias

from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.data.tables import EntityProperty, TableServiceClient
from azure.storage.blob import BlobServiceClient

Row: TypeAlias = dict[str, Any]
UNITS: Final = ("tokens", "pusd")
PUSD: Final = Decimal(10) ** 12
TERMINAL: Final = frozenset({"charge", "void", "expire"})
METERS: Final = ("input", "cached_input", "cache_write", "audio_input", "output", "audio_output",
                 "images", "speech_characters", "audio_seconds")  # fmt: skip
TOKENS: Final = METERS[:6]
INSTEAD: Final = {"cached_input": "input", "cache_write": "input", "audio_input": "input", "audio_output": "output"}
"""A token meter without a price of its own has that of another one."""


@dataclass(slots=True)
class Account:
    """The account's tables and blobs."""

    tables: TableServiceClient
    blobs: BlobServiceClient | None

    def rows(self, table: str) -> Iterator[tuple[str, str, Row]]:
        """Yield partition, key and properties of each row, in the order of the table; none if there is no table."""
        try:
            for entity in self.tables.get_table_client(table).list_entities():
                row = {
                    name: value.value if isinstance(value, EntityProperty) else value for name, value in entity.items()
                }
                yield row.pop("PartitionKey"), row.pop("RowKey"), row
        except ResourceNotFoundError:
            return

    def statements(self, period: str) -> Any:
        """Return the statements of a period; `None` if it has none."""
        if self.blobs is None:
            return None
        try:
            blob = self.blobs.get_blob_client("chargeback", f"{period}/statements.json")
            return json.loads(blob.download_blob().readall())
        except ResourceNotFoundError:
            return None


def price_id(price: Mapping[str, Any]) -> str:
    """Return the id by which entries name a price: the beginning of a hash of its content."""
    at = datetime.fromisoformat(price["effective_from"]).isoformat()
    parts = [price["model"], *(price.get(name) or "*" for name in ("model_version", "sku", "region"))]
    parts += [price["meter"], price["usd_per_million"], at]
    if price.get("variant") is not None:
        parts.append(price["variant"])
    tier, above, up_to = (price.get(name) for name in ("service_tier", "input_tokens_above", "input_tokens_up_to"))
    if tier is not None or above or up_to is not None:
        parts += [f"tier={tier or '*'}", f"above={above or 0}", f"up to={up_to or '*'}"]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:10]


@dataclass(slots=True)
class Prices:
    """The price book: what a unit costs in pUSD, by the id of the price row."""

    by_id: dict[str, tuple[str, Decimal]] = field(default_factory=dict)

    def add(self, price: Mapping[str, Any]) -> None:
        # A million units cost so many USD, so one unit costs as many millionths of a USD: that times 10^12 is pUSD.
        per_unit = Decimal(price["usd_per_million"]) / 10**6 * PUSD
        self.by_id[price_id(price)] = price["meter"], per_unit

    def cost(self, version: str, usage: Mapping[str, int]) -> Decimal | None:
        """Return what a usage costs in pUSD; `None` if a price of the version is missing."""
        ids = version.split(".")
        if any(each not in self.by_id for each in ids):
            return None
        prices = dict(self.by_id[each] for each in ids)
        return sum(
            (
                usage.get(meter, 0) * prices.get(meter, prices.get(INSTEAD.get(meter, ""), Decimal(0)))
                for meter in METERS
            ),
            Decimal(0),
        )


@dataclass(slots=True)
class Chain:
    """The hash chain of a lane. It counts the entries by what was recomputed of them."""

    keys: Mapping[str, bytes]
    head: str
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, entry: Row) -> str:
        """Recompute the next entry. Returns what is wrong; empty if nothing is."""
        sealed = {"hash", "mac"} if "method" in entry else {"hash"}
        covered = {name: value for name, value in entry.items() if name not in sealed}
        text = self.head + json.dumps(covered, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        self.head = entry.get("hash", "")
        if "method" not in entry:
            return self._compare("hash", self._mac("0", text), "hash by key 0 is not recomputed", entry)
        if entry["method"] != "sha256" or hashlib.sha256(text.encode()).hexdigest() != self.head:
            return "has another hash than SHA-256 gives"
        version = entry["key_version"]
        return self._compare("mac", self._mac(version, self.head), f"mac by key {version} is not recomputed", entry)

    def _mac(self, version: str, text: str) -> str | None:
        key = self.keys.get(version)
        return None if key is None else hmac.digest(key, text.encode(), "sha256").hex()

    def _compare(self, name: str, computed: str | None, missing: str, entry: Row) -> str:
        self.counts[missing if computed is None else f"{name} by key {entry.get('key_version', '0')} agrees"] += 1
        return "" if computed in (None, entry.get(name)) else f"has another {name} than its key gives"


@dataclass(slots=True)
class LaneSums:
    """The sums of the entries and reservations of one lane."""

    chain: Chain
    balance: Row | None = None
    entries: int = 0
    used: Counter[str] = field(default_factory=Counter)
    excess: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    reserved: Counter[str] = field(default_factory=Counter)
    holds: set[str] = field(default_factory=set)
    resolved: Counter[str] = field(default_factory=Counter)
    limits: list[tuple[int, int]] = field(default_factory=list)
    """The limits after each change, in tokens and pUSD; -1 for none."""
    tokens_by_entry: list[int] = field(default_factory=list)
    """The tokens of all entries up to each one."""


@dataclass(slots=True)
class Books:
    """The books of a period, and everything that differs."""

    period: str
    prices: Prices
    keys: Mapping[str, bytes] = field(default_factory=dict)
    """The versions of the chain key."""
    lanes: dict[str, LaneSums] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    def add_lane(self, partition: str, rows: Iterator[tuple[str, Row]]) -> None:
        """Add all rows of a lane, in the order of their keys."""
        genesis = hashlib.sha256(f"{self.period}/{partition}".encode()).hexdigest()
        lane = self.lanes[partition] = LaneSums(chain=Chain(self.keys, genesis))
        for key, row in rows:
            kind, _, name = key.partition("|")
            if key == "B":
                lane.balance = row
            elif kind == "E":
                self._add_entry(partition, lane, row)
            elif kind == "P":
                lane.holds.add(name)
                lane.reserved.update({unit: row[unit] for unit in UNITS})
        if lane.balance is None:
            self._differ(partition, "the lane has no balance")
        else:
            self._compare(partition, lane, lane.balance)

    def _add_entry(self, partition: str, lane: LaneSums, entry: Row) -> None:
        lane.entries += 1
        kind = entry["kind"]
        if entry["seq"] != lane.entries:
            self._differ(partition, f"entry {entry['seq']} stands where {lane.entries} belongs")
        if wrong := lane.chain.add(entry):
            self._differ(partition, f"entry {entry['seq']} {wrong}")
        for unit in UNITS:
            held = entry.get(f"reserved_{unit}", 0) if kind in TERMINAL else 0
            lane.used[unit] += entry[unit]
            lane.moved[unit] += entry.get(f"moved_{unit}", 0)
            if kind in TERMINAL or kind in ("late", "adjust"):
                lane.excess[unit] += max(0, entry[unit] - held)
        lane.tokens_by_entry.append(lane.used["tokens"])
        if kind in TERMINAL:
            lane.resolved[entry["rid"]] += 1
        if kind == "limit":
            lane.limits.append((entry["limit_tokens"], entry["limit_pusd"]))
        if "price_version" in entry:
            self._check_cost(partition, entry)

    def _check_cost(self, partition: str, entry: Row) -> None:
        usage = {meter: entry.get(f"usage_{meter}", 0) for meter in METERS}
        cost = self._cost(entry, usage)
        tokens = sum(usage[meter] for meter in TOKENS)
        if cost != entry["pusd"]:
            self._differ(
                partition, f"entry {entry['seq']} costs {entry['pusd']} pUSD, its usage and prices give {cost}"
            )
        if tokens != entry["tokens"]:
            self._differ(partition, f"entry {entry['seq']} has {entry['tokens']} tokens, its usage has {tokens}")

    def _cost(self, entry: Row, usage: Mapping[str, int]) -> Decimal | None:
        """Return the cost of an entry. A correction at another price replaces a whole charge by a whole charge."""
        version, _, replaced = entry.get("corrected", "").partition(" ")
        if not version:
            return self.prices.cost(entry["price_version"], usage)
        before = {meter: int(count) for meter, count in (each.split("=") for each in replaced.split())}
        after = {meter: usage[meter] + before.get(meter, 0) for meter in METERS}
        new, old = self.prices.cost(entry["price_version"], after), self.prices.cost(version, before)
        return None if new is None or old is None else new - old

    def _compare(self, partition: str, lane: LaneSums, balance: Row) -> None:
        stated = {name: balance[name] for name in ("seq", "open_reservations", "head")}
        computed = {"seq": lane.entries, "open_reservations": len(lane.holds), "head": lane.chain.head}
        for name, sums in (("used", lane.used), ("reserved", lane.reserved), ("excess", lane.excess),
                           ("moved", lane.moved)):  # fmt: skip
            for unit in UNITS:
                stated[f"{name}_{unit}"] = balance.get(f"{name}_{unit}", 0)
                computed[f"{name}_{unit}"] = sums[unit]
        first = balance["limit0_tokens"], balance["limit0_pusd"]
        last = lane.limits[-1] if lane.limits else first
        for unit, limit in zip(UNITS, last, strict=True):
            stated[f"limit_{unit}"], computed[f"limit_{unit}"] = balance[f"limit_{unit}"], limit
        for name, value in computed.items():
            if stated[name] != value:
                self._differ(partition, f"{name} is {stated[name]}, computed {value}")
        for rid, times in lane.resolved.items():
            if times > 1 or rid in lane.holds:
                self._differ(partition, f"reservation {rid} ended {times} times" + " and is open" * (rid in lane.holds))
        self._check_admission(partition, balance, [first, *lane.limits])

    def _check_admission(self, partition: str, balance: Row, limits: list[tuple[int, int]]) -> None:
        """Check that no more was admitted than the highest limit that was ever in force, plus what is called excess."""
        for index, unit in enumerate(UNITS):
            in_force = [limit[index] for limit in limits]
            taken = balance[f"used_{unit}"] + balance[f"reserved_{unit}"]
            most = max(in_force) + balance.get(f"moved_{unit}", 0) + balance[f"excess_{unit}"]
            if -1 not in in_force and taken > most:
                self._differ(partition, f"{taken} {unit} are used and reserved, at most {most} could be admitted")

    def check_transfers(self) -> None:
        """Check that a tenant's lanes have not received more from each other than they have given."""
        given: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for partition, lane in self.lanes.items():
            given[partition.partition("|")[0]].update(lane.moved)
        for tenant, sums in given.items():
            for unit in UNITS:
                if sums[unit] > 0:
                    self._differ(tenant, f"the lanes received {sums[unit]} {unit} more than they gave")

    def check_rollups(self, partition: str, rows: Mapping[str, Row]) -> None:
        """Compare the rollups of a lane with its entries up to the watermark."""
        mark = rows["W"]["seq"] if "W" in rows else 0
        sums = self.lanes[partition].tokens_by_entry if partition in self.lanes else []
        if mark > len(sums):
            self._differ(partition, f"entries up to {mark} are rolled up, there are {len(sums)}")
            return
        stated = sum(row["tokens"] for key, row in rows.items() if key.startswith("R|"))
        if stated != (sums[mark - 1] if mark else 0):
            self._differ(partition, f"rollups have {stated} tokens, the entries up to {mark} have {sums[mark - 1]}")

    def check_statements(self, document: Any) -> None:
        """Compare the statements of the period with the entries."""
        by_tenant: defaultdict[str, list[LaneSums]] = defaultdict(list)
        for partition, lane in self.lanes.items():
            by_tenant[partition.partition("|")[0]].append(lane)
        billed = {bill["tenant_id"]: bill for bill in document["tenants"]}
        for tenant in sorted(billed.keys() ^ by_tenant.keys()):
            self._differ(tenant, "there are books or a bill, but not both")
        for tenant in billed.keys() & by_tenant.keys():
            self._check_bill(tenant, billed[tenant], by_tenant[tenant])
        total = sum((Decimal(bill["total_cost_usd"]) for bill in billed.values()), Decimal(0))
        by_center = sum((Decimal(each["cost_usd"]) for each in document["cost_centers"]), Decimal(0))
        for name, amount in (("the bills", total), ("the cost centers", by_center)):
            if amount != Decimal(document["total_cost_usd"]):
                self._differ("statements", f"{name} add up to {amount} USD, not {document['total_cost_usd']}")

    def _check_bill(self, tenant: str, bill: Mapping[str, Any], lanes: list[LaneSums]) -> None:
        exact = Decimal(sum(lane.used["pusd"] for lane in lanes)) / PUSD
        lines = sum((Decimal(line["exact_cost_usd"]) for line in bill["lines"]), Decimal(0))
        for name, stated, computed in (
            ("tokens", bill["tokens_used"], sum(lane.used["tokens"] for lane in lanes)),
            ("entries", bill["entries"], sum(lane.entries for lane in lanes)),
            ("exact cost", Decimal(bill["exact_cost_usd"]), exact),
            ("cost of the lines", lines, exact),
            ("cost", Decimal(bill["total_cost_usd"]), exact.quantize(Decimal("0.01"), ROUND_HALF_EVEN)),
        ):
            if stated != computed:
                self._differ(tenant, f"the bill states {name} {stated}, computed {computed}")

    def _differ(self, where: str, message: str) -> None:
        self.differences.append(f"{self.period} {where}: {message}")


def recompute(account: Account, period: str, keys: Mapping[str, bytes] | None = None) -> Books:
    """Recompute a period, with the versions of the chain key that are known.

    Raises `AzureError` if the account cannot be read.
    """
    prices = Prices()
    for _, key, row in account.rows("prices"):
        if key.startswith("~"):  # an audit event that waits, with the price as it was
            continue
        document = json.loads(row["document"])
        for price in (document, *document.get("other_bands", ())):
            prices.add(price)
    books, suffix = Books(period, prices, keys or {}), period.replace("-", "")
    for partition, rows in groupby(account.rows(f"ledger{suffix}"), key=lambda row: row[0]):
        books.add_lane(partition, ((key, row) for _, key, row in rows))
    books.check_transfers()
    for partition, rows in groupby(account.rows(f"rollup{suffix}"), key=lambda row: row[0]):
        books.check_rollups(partition, {key: row for _, key, row in rows})
    if document := account.statements(period):
        books.check_statements(document)
    return books


def _connect(options: argparse.Namespace) -> Account:
    key = os.environ.get("TALLYGATE_STORAGE_ACCOUNT_KEY")
    credential: Any
    if key:
        credential = AzureNamedKeyCredential(options.account, key)
    else:
        from azure.identity import DefaultAzureCredential

        credential = DefaultAzureCredential()
    blob_credential = {"account_name": options.account, "account_key": key} if key else credential
    blobs = BlobServiceClient(options.blob_endpoint, credential=blob_credential) if options.blob_endpoint else None
    tables = TableServiceClient(options.table_endpoint, credential=credential, retry_total=2)
    return Account(tables, blobs)


def _chain_keys() -> dict[str, bytes]:
    """Read the versions of the chain key from the settings of the gateway."""
    items = [item.strip().partition("=") for item in os.environ.get("AUDIT_CHAIN_KEYS", "").split(",") if item.strip()]
    keys = {version: secret for version, _, secret in items} | {"0": os.environ.get("AUDIT_CHAIN_KEY", "")}
    return {version: secret.encode() for version, secret in keys.items() if secret}


def main() -> int:
    setting = os.environ.get
    parser = argparse.ArgumentParser(prog="python -m tests.adversary.recompute", description=__doc__.splitlines()[0])
    parser.add_argument("--period", action="append", required=True, help="YYYY-MM; can be repeated")
    parser.add_argument("--table-endpoint", default=setting("TALLYGATE_TABLE_ENDPOINT"))
    parser.add_argument("--blob-endpoint", default=setting("TALLYGATE_BLOB_ENDPOINT"))
    parser.add_argument("--account", default=setting("TALLYGATE_STORAGE_ACCOUNT_NAME"))
    options = parser.parse_args()
    if not options.table_endpoint or not options.account:
        parser.error("name the account and its table endpoint")
    try:
        account = _connect(options)
        found = [recompute(account, period, _chain_keys()) for period in options.period]
    except AzureError as error:
        print(f"the account cannot be read: {error}", file=sys.stderr)
        return 2
    for books in found:
        entries = sum(lane.entries for lane in books.lanes.values())
        print(f"{books.period}: {entries} entries in {len(books.lanes)} lanes recomputed")
        chained = sum((lane.chain.counts for lane in books.lanes.values()), Counter[str]())
        print(*(f"  {count} entries: {what}" for what, count in sorted(chained.items())), sep="\n")
        print(*books.differences, sep="\n", end="\n" if books.differences else "")
    return 1 if any(books.differences for books in found) else 0


if __name__ == "__main__":
    sys.exit(main())
