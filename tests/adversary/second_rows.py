"""The rows of an archive, checked as docs/reference/formats.md says. It imports nothing of the gateway.

The names and the types of properties are read from the tables of docs/reference/ledger.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

Fields = dict[str, Any]
UNITS = ("tokens", "pusd")
TERMINAL = {"charge", "void", "expire"}
OF_REQUESTS = {*TERMINAL, "late", "adjust"}
KINDS = {*OF_REQUESTS, "limit", "transfer_out", "transfer_in", "close"}
TOKENS = ("input", "cached_input", "cache_write", "audio_input", "output", "audio_output")
METERS = (*TOKENS, "images", "speech_characters", "audio_seconds")
QUANTITIES = (*METERS, "reasoning")
BASE = dict.fromkeys(TOKENS[:4], "input") | dict.fromkeys(TOKENS[4:], "output")
LANE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\|[0-9]{2}", re.ASCII)
SUMS = ("requests", "failed_requests", "tokens", "cost_pusd", "estimated_tokens", "content_filter_flags")
GROUP = ("day", "deployment", "user", "model", "application")

_DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reference" / "ledger.md"
_TYPES = {"text": str, "integer": int, "boolean": bool}


def _tables() -> dict[str, dict[str, type]]:
    """Return the types of properties by the name of a table in the document."""
    text = _DOCUMENT.read_text()
    found = re.findall(r"<!-- fields: (\w+) -->(.*?)<!-- /fields -->", text, re.DOTALL)
    return {
        name: {each: _TYPES[kind] for each, kind in re.findall(r"^\| `(\w+)` \| (\w+) \|", body, re.MULTILINE)}
        for name, body in found
    }


TABLES = _tables()
_USAGE = {f"usage_{each}": int for each in QUANTITIES}
_SEALED = {"hash", "mac"}


@dataclass(frozen=True)
class Form:
    """The properties of a row: those that are there, and those that are left out where they are zero or empty."""

    required: dict[str, type]
    optional: dict[str, type] = field(default_factory=dict)
    may_be_empty: frozenset[str] = frozenset()

    def faults(self, fields: Fields) -> Iterator[str]:
        known = self.required | self.optional
        for name, value in fields.items():
            if name not in known or type(value) is not known[name]:
                yield f"{name} is not a property, or has another type"
            elif not value and name not in self.required and name not in self.may_be_empty:
                yield f"{name} is empty"
        for name in self.required.keys() - fields.keys():
            yield f"{name} is missing"


def _form(table: str, optional: set[str], may_be_empty: set[str]) -> Form:
    kinds = TABLES[table]
    required = {name: kind for name, kind in kinds.items() if name not in optional | may_be_empty}
    return Form(required, {name: kinds[name] for name in optional | may_be_empty}, frozenset(may_be_empty))


_AMOUNT: dict[str, type] = {"tokens": int, "pusd": int}
FORMS = {
    "B": _form("balance", {"owner", "owner_until"}, {"granted_tokens", "granted_pusd"}),
    "P": _form("reservation", {*_USAGE}, {"application", "prompt_hmac", "sku", "spilled_to", "unbounded"}),
    "X": Form(_AMOUNT, dict(_USAGE)),
    "G": Form({"direction": str, "other": int, **_AMOUNT}),
    "L": Form({}),
    "R": Form(
        {**dict.fromkeys(GROUP[:4], str), **dict.fromkeys(SUMS, int), **_USAGE, "findings": str},
        {"application": str},
    ),
    "W": Form({"seq": int}),
}


def _entry_form(fields: Fields) -> Form:
    kinds = TABLES["entry"]
    required = {"kind", "seq", *UNITS}
    if fields.get("kind") in OF_REQUESTS:
        required |= {"deployment"}
    if fields.get("kind") == "limit":
        required |= {"limit_tokens", "limit_pusd"}
        if "before_tokens" in fields:
            required |= {"before_pusd"}
    optional = {name: kind for name, kind in kinds.items() if name not in required}
    return Form({name: kinds[name] for name in required}, optional, frozenset(optional))


DEFAULTS: Fields = {
    **dict.fromkeys(("model", "meter", "usd_per_million", "effective_from")),
    **dict.fromkeys(("model_version", "sku", "region", "variant", "service_tier", "input_tokens_up_to")),
    "input_tokens_above": 0, "source": "", "is_ordered": False,
}  # fmt: skip
"""The properties of a price, with the value of one that is absent."""


def _is_of_price(name: str, value: Any) -> bool:
    if name == "is_ordered":
        return isinstance(value, bool)
    if name.startswith("input_tokens"):
        return type(value) is int or (value is None and name == "input_tokens_up_to")
    return isinstance(value, str) or (value is None and DEFAULTS[name] is None)


class Prices:
    """The price rows in the head of an archive."""

    def __init__(self, rows: list[Fields]) -> None:
        """Raises `ValueError`, `TypeError`, `KeyError` or `ArithmeticError` if they cannot be read."""
        self.by_id: dict[str, Fields] = {}
        by_key: defaultdict[tuple[Any, ...], list[Fields]] = defaultdict(list)
        for row in rows:
            known = self._read(row)
            self.by_id[known["id"]] = known
            by_key[known["key"]].append(known)
        for same in by_key.values():
            for one, other in combinations(same, 2):
                self._compare(one, other)

    @staticmethod
    def _read(row: Fields) -> Fields:
        if row.keys() - DEFAULTS.keys() or any(not _is_of_price(name, value) for name, value in row.items()):
            raise ValueError("this is no price")
        at, price = datetime.fromisoformat(row["effective_from"]), Decimal(row["usd_per_million"])
        per_unit = price * 10**6
        if at.tzinfo is None or row["meter"] not in METERS:
            raise ValueError("this is no price")
        if not price.is_finite() or not 0 <= price <= 9_000_000 or per_unit != int(per_unit):
            raise ValueError("this is no price")
        above, up_to = row.get("input_tokens_above", 0), row.get("input_tokens_up_to")
        wild = [row.get(name) for name in ("model_version", "sku", "region")]
        variant, tier = row.get("variant"), row.get("service_tier")
        parts = [row["model"], *(each or "*" for each in wild), row["meter"], row["usd_per_million"], at.isoformat()]
        parts += [] if variant is None else [variant]
        if tier is not None or above > 0 or up_to is not None:
            parts += [f"tier={tier or '*'}", f"above={above}", f"up to={up_to or '*'}"]
        plain = None if variant is None else " ".join(variant.lower().split())
        key = (row["model"], *wild, row["meter"], plain, tier, at.astimezone(UTC))
        return {
            "id": hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:10],
            "key": key, "meter": row["meter"], "model": row["model"], "pusd": int(per_unit),
            "tier": tier or "default", "above": above, "up_to": up_to,
        }  # fmt: skip

    @staticmethod
    def _compare(one: Fields, other: Fields) -> None:
        first, second = sorted((one, other), key=lambda row: row["above"])
        is_apart = first["up_to"] is not None and first["up_to"] <= second["above"]
        have_bands = all(row["above"] > 0 or row["up_to"] is not None for row in (one, other))
        if (one["above"], one["up_to"]) == (other["above"], other["up_to"]):
            if one["id"] != other["id"]:
                raise ValueError("two prices of one key and band differ")
        elif have_bands and not is_apart:
            raise ValueError("two bands of one key overlap")

    def rows(self, version: str) -> list[Fields] | None:
        """Return the rows that a price version names; `None` if one is missing."""
        ids = version.split(".")
        return [self.by_id[each] for each in ids] if all(each in self.by_id for each in ids) else None

    def per_unit(self, version: str) -> dict[str, int] | None:
        rows = self.rows(version)
        if rows is None:
            return None
        own = {row["meter"]: row["pusd"] for row in rows}
        return {meter: own.get(meter, own.get(BASE.get(meter, ""), 0)) for meter in METERS}

    def label(self, version: str) -> str:
        """Return service tier and context band in words; empty for standard prices."""
        rows = self.rows(version) or []
        tier, above = rows[0]["tier"], max(row["above"] for row in rows)
        return " ".join(([] if tier == "default" else [tier]) + ([f"above {above}"] if above else []))


def charges(entry: Fields) -> list[tuple[str, Counter[str]]]:
    """Return the price versions and usages of which an entry is the sum. Raises `ValueError`."""
    usage = Counter({meter: entry.get(f"usage_{meter}", 0) for meter in QUANTITIES})
    version = entry.get("price_version", "")
    if not entry.get("corrected"):
        return [(version, usage)]
    before, *quantities = entry["corrected"].split()
    replaced: Counter[str] = Counter()
    for meter, _, quantity in (each.partition("=") for each in quantities):
        if meter not in QUANTITIES:
            raise ValueError("this is no meter")
        replaced[meter] = int(quantity)
    total, negative = Counter(usage), Counter[str]()
    total.update(replaced)
    negative.subtract(replaced)
    return [(version, total), (before, negative)]


@dataclass
class Lane:
    """The rows of one lane, and what its entries sum to."""

    name: str
    balance: Fields | None = None
    entries: list[Fields] = field(default_factory=list)
    rows: defaultdict[str, dict[str, Fields]] = field(default_factory=lambda: defaultdict(dict))
    is_readable: bool = True
    booked: list[Fields] = field(default_factory=list)
    """The limits of a vault: at its opening, and after each limit entry."""

    @property
    def tenant(self) -> str:
        return self.name.partition("|")[0]

    @property
    def number(self) -> int:
        return int(self.name.partition("|")[2])

    @property
    def last(self) -> int:
        return int(self.balance["seq"]) if self.balance else 0


@dataclass
class Books:
    """All rows of an archive."""

    period: str
    prices: Prices
    lanes: dict[str, Lane] = field(default_factory=dict)

    @property
    def ledger(self) -> str:
        return "ledger" + self.period.replace("-", "")

    @property
    def rollup(self) -> str:
        return "rollup" + self.period.replace("-", "")

    def read(  # noqa: C901 - the steps of the document, in its order
        self, rows: list[tuple[str, str, str, Fields]], only: str | None
    ) -> Iterator[str]:
        """Sort the rows, and yield what is wrong with their forms and their places."""
        registered: set[str] = set()
        for table, partition, key, fields in sorted(rows, key=lambda row: row[:3]):
            if table == "registry" and partition == self.period:
                registered.add(key)
                if not LANE.fullmatch(key) or fields or not _is_of(key, only):
                    yield f"registry {key}: this is no lane of the package, or has properties"
            elif table not in {self.ledger, self.rollup}:
                yield f"{table} {partition} {key}: the table or the partition does not belong there"
            elif not LANE.fullmatch(partition) or not _is_of(partition, only):
                yield f"{table} {partition}: this is no lane of the package"
            else:
                lane = self.lanes.setdefault(partition, Lane(partition))
                for fault in self._add(lane, table, key, fields):
                    lane.is_readable = False
                    yield f"{table} {partition} {key}: {fault}"
        for name, lane in self.lanes.items():
            if name not in registered:
                yield f"{name}: the lane is not in the registry"
            if lane.balance is None:
                yield f"{name}: the lane has rows and no balance"

    def _add(self, lane: Lane, table: str, key: str, fields: Fields) -> Iterator[str]:
        kind, _, name = key.partition("|")
        is_rollup = table == self.rollup
        if key == "B" and not is_rollup:
            lane.balance = fields
            if fields.get("state") not in {"OPEN", "CLOSING", "CLOSED"}:
                yield "the state is none"
            yield from FORMS["B"].faults(fields)
        elif kind == "E" and not is_rollup:
            if fields.get("kind") not in KINDS:
                yield "the kind is none"
            yield from _entry_form(fields).faults(fields)
            lane.entries.append(fields | {"": key})
        elif (kind in {"P", "X", "G", "L"} and not is_rollup) or (is_rollup and (kind == "R" or key == "W")):
            lane.rows[kind][name] = fields
            yield from FORMS[kind].faults(fields)
            if kind == "G" and fields.get("direction") not in {"out", "in"}:
                yield "the direction is none"
        else:
            yield "no such row belongs there"

    def check(self) -> Iterator[str]:
        """Yield what is wrong with the sums of all lanes."""
        for tenant, of_tenant in groupby(
            sorted(self.lanes.values(), key=lambda lane: lane.name), lambda each: each.tenant
        ):
            lanes = [lane for lane in of_tenant if lane.is_readable and lane.balance is not None]
            for lane in lanes:
                yield from (f"{lane.name}: {each}" for each in _Sums(lane, self.prices).check())
            yield from (f"{tenant}|{each}" for each in _between(lanes))


def _is_of(lane: str, only: str | None) -> bool:
    return only is None or lane.startswith(f"{only}|")


def _between(lanes: list[Lane]) -> Iterator[str]:  # noqa: C901 - the steps of the document, in its order
    """Yield what is wrong between the lanes of a tenant."""
    vault = next((lane for lane in lanes if lane.number == 0), None)
    sides: dict[str, dict[str, tuple[Lane, Fields]]] = {"transfer_out": {}, "transfer_in": {}}
    for lane in lanes:
        balance = lane.balance or {}
        for unit in UNITS:
            due = None if vault is None else -1 if (vault.balance or {})[f"limit_{unit}"] == -1 else 0
            if lane.number and balance[f"limit_{unit}"] != due:
                yield f"{lane.number:02}: the lane has a limit of its own"
        for entry in lane.entries:
            if entry["kind"] in sides:
                xid = entry.get("reference", "").partition("/")[2]
                if xid in sides[entry["kind"]]:
                    yield f"{lane.number:02}: the transfer {xid} is there twice"
                sides[entry["kind"]][xid] = (lane, entry)
    is_closed = all((lane.balance or {})["state"] == "CLOSED" for lane in lanes)
    out, into = sides["transfer_out"], sides["transfer_in"]
    for xid in sorted(out.keys() | into.keys()):
        if xid not in out or (xid not in into and is_closed):
            yield f"{(out.get(xid) or into[xid])[0].number:02}: the transfer {xid} has one side"
        elif xid in into:
            (sender, sent), (receiver, received) = out[xid], into[xid]
            if any(sent.get(f"moved_{unit}", 0) + received.get(f"moved_{unit}", 0) for unit in UNITS) or (
                sent["reference"][:3], received["reference"][:3]
            ) != (f"{receiver.number:02}/", f"{sender.number:02}/"):  # fmt: skip
                yield f"{receiver.number:02}: the two sides of {xid} differ"


class _Sums:
    """The sums over the entries of one lane."""

    def __init__(self, lane: Lane, prices: Prices) -> None:
        assert lane.balance is not None
        self.lane, self.balance, self.prices = lane, lane.balance, prices
        self.entries = [entry for entry in lane.entries if entry[""] < f"E|{lane.last + 1:016}"]

    def check(self) -> Iterator[str]:
        yield from self._numbers()
        yield from self._amounts()
        yield from self._limits()
        yield from self._state()
        yield from self._commits()
        yield from self._reservations()
        yield from self._other_rows()
        yield from self._rollups()
        for entry in self.entries:
            yield from self._cost(entry)

    def _numbers(self) -> Iterator[str]:
        numbers = [(entry[""], entry["seq"]) for entry in self.lane.entries]
        if numbers != [(f"E|{seq:016}", seq) for seq in range(1, self.lane.last + 1)]:
            yield "the entries are not 1 to the seq of the balance"

    def _amounts(self) -> Iterator[str]:
        holds = self.lane.rows["P"].values()
        if len(holds) != self.balance["open_reservations"]:
            yield "the number of open reservations is another"
        for unit in UNITS:
            used = sum(entry[unit] for entry in self.entries)
            excess = sum(max(0, entry[unit] - (entry.get(f"reserved_{unit}", 0) if entry["kind"] in TERMINAL else 0))
                         for entry in self.entries if entry["kind"] in OF_REQUESTS)  # fmt: skip
            moved = sum(entry.get(f"moved_{unit}", 0) for entry in self.entries if "transfer" in entry["kind"])
            sums = {"used": used, "excess": excess, "moved": moved, "reserved": sum(row[unit] for row in holds)}
            for name, value in sums.items():
                if self.balance[f"{name}_{unit}"] != value:
                    yield f"{name}_{unit} is {self.balance[f'{name}_{unit}']}, the rows sum to {value}"

    def _limits(self) -> Iterator[str]:
        limit = {unit: self.balance[f"limit0_{unit}"] for unit in UNITS}
        granted, was_lowered = dict.fromkeys(UNITS, 0), False
        self._book(limit, granted, None, {})
        for entry in (each for each in self.entries if each["kind"] == "limit"):
            before, limit = limit, {unit: entry[f"limit_{unit}"] for unit in UNITS}
            if "before_tokens" in entry and {unit: entry[f"before_{unit}"] for unit in UNITS} != before:
                yield f"entry {entry['seq']} states another limit before it"
            added = dict.fromkeys(UNITS, 0)
            if entry.get("reference", "").partition("/")[0] == "grant":
                added = {unit: 0 if -1 in (before[unit], limit[unit]) else limit[unit] - before[unit] for unit in UNITS}
                granted = {unit: granted[unit] + added[unit] for unit in UNITS}
            was_lowered |= any(
                limit[unit] != -1 and (before[unit] == -1 or limit[unit] < before[unit]) for unit in UNITS
            )
            self._book(limit, granted, entry, added)
        for unit in UNITS:
            if self.balance[f"limit_{unit}"] != limit[unit]:
                yield f"limit_{unit} is not that of the last limit entry"
            if self.balance.get(f"granted_{unit}", 0) != granted[unit]:
                yield f"granted_{unit} is not the sum of the grants"
            taken = self.balance[f"used_{unit}"] + self.balance[f"reserved_{unit}"]
            most = limit[unit] + self.balance[f"moved_{unit}"] + self.balance[f"excess_{unit}"]
            if limit[unit] != -1 and taken > most and not was_lowered:
                yield f"more {unit} are used and reserved than the limit and the excess"

    def _book(
        self, limit: dict[str, int], granted: dict[str, int], entry: Fields | None, added: dict[str, int]
    ) -> None:
        if self.lane.number:
            return
        reference = entry.get("reference", "") if entry else ""
        plain = tuple(None if limit[unit] == -1 else limit[unit] - granted[unit] for unit in UNITS)
        self.lane.booked.append({
            "seq": entry["seq"] if entry else 0,
            "at": entry.get("timestamp", "") if entry else None,
            "limit": plain,
            "grant_id": reference.removeprefix("grant/") if reference.startswith("grant/") else "",
            "granted": tuple(added.get(unit, 0) for unit in UNITS),
        })  # fmt: skip

    def _state(self) -> Iterator[str]:
        closes = [entry["kind"] == "close" for entry in self.entries]
        if any(closes[:-1]):
            yield "an entry follows the close"
        if (self.balance["state"] == "CLOSED") != bool(closes and closes[-1]):
            yield "the lane is closed without the entry close, or has it and is not closed"
        if self.balance["state"] == "CLOSED" and self.lane.rows["P"]:
            yield "the lane is closed, and has an open reservation"
        stated = self.entries[-1].get("balance_sha256", "") if self.entries else ""
        covered = {name: value for name, value in self.balance.items() if value and name not in {"head", "seq"}}
        text = json.dumps(covered, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        if stated and hashlib.sha256(text.encode()).hexdigest() != stated:
            yield "the balance is not the one that the close left"
        if self.lane.number == 0 and self.balance.get("owner"):
            yield "the vault is leased"

    def _commits(self) -> Iterator[str]:
        runs = [(name, [*group]) for name, group in groupby(self.entries, lambda entry: entry.get("commit_id", ""))]
        if len(runs) > self.balance["version"]:
            yield "more commits wrote entries than the balance counts"
        recent = self.balance["recent"].split(",") if self.balance["recent"] else []
        if len({*recent}) != min(self.balance["version"], 32):
            yield "recent has another number of commits"
        elif self.balance["state"] == "OPEN" and (self.lane.number == 0 or not self.balance.get("owner")):
            resolved = {name: sum(entry["kind"] in TERMINAL for entry in group) for name, group in runs[-32:]}
            holding, spare = {row["commit_id"] for row in self.lane.rows["P"].values()}, 0
            for name in recent:
                if name in resolved:
                    spare += resolved[name]
                elif name not in holding:
                    spare -= 1
                    if spare < 0:
                        yield f"the recent commit {name} wrote nothing that is there"
                        return

    def _reservations(self) -> Iterator[str]:
        ended = Counter(entry.get("rid", "") for entry in self.entries if entry["kind"] in TERMINAL)
        if any(count > 1 for count in ended.values()) or ended.keys() & self.lane.rows["P"].keys():
            yield "a reservation ended twice, or is open and ended"
        for rid, row in self.lane.rows["P"].items():
            if self.prices.rows(row["price_version"]) is None:
                yield f"the reservation {rid} names a price that is not there"

    def _other_rows(self) -> Iterator[str]:  # noqa: C901 - the steps of the document, in its order
        waiting: dict[str, Fields] = {}
        marks: Counter[str] = Counter()
        sides: dict[str, Fields] = {}
        for entry in self.entries:
            kind, rid, reference = entry["kind"], entry.get("rid", ""), entry.get("reference", "")
            group, _, name = reference.partition("/")
            if kind == "expire":
                usage = {each: entry[each] for each in _USAGE if entry.get(each)}
                waiting[rid] = {unit: entry[unit] for unit in UNITS} | usage
            elif kind == "late" and waiting.pop(rid, None) is None:
                yield f"entry {entry['seq']} is late, and no expiry waits for it"
            elif kind == "adjust":
                marks[rid] += 1
            elif kind == "limit" and group == "grant":
                marks[f"grant|{name}" if "before_tokens" in entry else name] += 1
            elif kind in {"transfer_out", "transfer_in"}:
                sign = -1 if kind == "transfer_out" else 1
                other, direction = int(group) if group.isdecimal() else -1, kind.removeprefix("transfer_")
                moved = {unit: sign * entry.get(f"moved_{unit}", 0) for unit in UNITS}
                sides[name] = {"direction": direction, "other": other} | moved
        if waiting != self.lane.rows["X"]:
            yield "the rows X are not the expired reservations without a late settlement"
        if marks != Counter({*self.lane.rows["L"]}):
            yield "the rows L are not the adjustments and the grants, each once"
        if sides != self.lane.rows["G"]:
            yield "the rows G are not the transfers"

    def _rollups(self) -> Iterator[str]:
        mark = self.lane.rows["W"].get("", {}).get("seq", 0)
        if mark > self.lane.last:
            yield "entries are rolled up that are not there"
        sums: dict[str, Fields] = {}
        for entry in self.entries:
            if entry["kind"] in OF_REQUESTS and entry["seq"] <= mark:
                self._roll_up(sums, entry)
        stored = {f"R|{name}": _plain(row) for name, row in self.lane.rows["R"].items()}
        if {key: _plain(row) for key, row in sums.items()} != stored:
            yield "the rows R are not the sums of the entries"

    def _roll_up(self, sums: dict[str, Fields], entry: Fields) -> None:
        group = {"day": entry.get("timestamp", "")[:10]} | {name: entry.get(name, "") for name in GROUP[1:]}
        names = [group[name] for name in GROUP[1:] if name != "application" or group[name]]
        key = f"R|{group['day']}|{hashlib.sha256(chr(0).join(names).encode()).hexdigest()}"
        row = sums.setdefault(key, group | dict.fromkeys((*SUMS, *_USAGE), 0) | {"findings": ""})
        for name, value in sums_of(entry).items():
            row[name] += value
        counts = _counts(row["findings"])
        counts.update(findings_of(entry))
        row["findings"] = ",".join(f"{name}={count}" for name, count in sorted(counts.items()))

    def _cost(self, entry: Fields) -> Iterator[str]:
        if entry["kind"] not in OF_REQUESTS:
            return
        cost = 0
        try:
            for version, usage in charges(entry):
                prices = self.prices.per_unit(version)
                if prices is None:
                    yield f"entry {entry['seq']} names a price that is not there"
                    return
                cost += sum(usage[meter] * prices[meter] for meter in METERS)
        except ValueError:
            yield f"entry {entry['seq']} corrects a charge that cannot be read"
            return
        if cost != entry["pusd"] or sum(entry.get(f"usage_{meter}", 0) for meter in TOKENS) != entry["tokens"]:
            yield f"entry {entry['seq']} has other costs or tokens than its usage and prices give"


def findings_of(entry: Fields) -> list[str]:
    return [each for each in entry.get("content_filter", "").split(",") if each]


def sums_of(entry: Fields) -> dict[str, int]:
    """Return what an entry about a request adds to sums."""
    is_request = entry["kind"] in TERMINAL and not entry.get("superseded")
    has_failed = is_request and (entry.get("status", 0) >= 400 or entry["kind"] == "expire")
    is_flagged = any(each.endswith(("filtered", "detected")) for each in findings_of(entry))
    return {
        "requests": int(is_request), "failed_requests": int(has_failed), "tokens": entry["tokens"],
        "cost_pusd": entry["pusd"], "estimated_tokens": entry["tokens"] if entry.get("estimated") else 0,
        "content_filter_flags": int(is_flagged), **{name: entry.get(name, 0) for name in _USAGE},
    }  # fmt: skip


def _counts(text: str) -> Counter[str]:
    return Counter({name: int(count) for name, _, count in (each.rpartition("=") for each in text.split(",") if each)})


def _plain(row: Fields) -> Fields:
    return {name: value for name, value in row.items() if name != "application" or value}


CANNOT_BE_READ = (ValueError, TypeError, KeyError, AttributeError, InvalidOperation, ArithmeticError)
