"""The statements of a package, checked as docs/reference/formats.md says. It imports nothing of the gateway."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from tests.adversary.second_rows import METERS, OF_REQUESTS, Books, Fields, Lane, charges, sums_of

COLUMNS = ("period", "tenant_id", "tenant_name", "cost_center", "deployment", "model", "meter", "quantity", "cost_usd",
           "exact_cost_usd")  # fmt: skip
COUNTED = ("requests", "failed_requests", "estimated_tokens", "content_filter_flags")
MANIFEST: Fields = {"period": str, "files": [{"name": str, "sha256": str, "bytes": int}], "total_cost_usd": str,
                    "total_tokens": int, "total_entries": int, "chain_heads": {str: str}}  # fmt: skip
BILL: Fields = {"tenant_id": str, "tenant_name": str, "cost_center": str, "tags": {str: str}, "requests": int,
                "failed_requests": int, "tokens_used": int, "quota_tokens": (int, None),
                "utilization_percent": (float, None), "budget_usd": (str, None), "estimated_tokens": int,
                "content_filter_flags": int, "total_cost_usd": str, "exact_cost_usd": str, "chain_heads": {str: str},
                "entries": int,
                "lines": [{"deployment": str, "model": str, "meter": str, "quantity": int, "cost_usd": str,
                           "exact_cost_usd": str, "cost_center?": str}]}  # fmt: skip
STATEMENTS: Fields = {"report_generated": str, "period": str, "status": str, "currency": str, "tenants": [BILL],
                      "cost_centers": [{"cost_center": str, "cost_usd": str}], "total_cost_usd": str,
                      "manifest": str}  # fmt: skip


def verify_statements(  # noqa: C901 - the steps of the document, in its order
    files: dict[str, bytes], period: str, books: Books
) -> Iterator[str]:
    """Yield what is wrong with the statements of a period, if there are any."""
    folder = f"statements/{period}/"
    own = {name.removeprefix(folder): content for name, content in files.items() if name.startswith(folder)}
    if "manifest.json" not in own:
        return
    try:
        manifest = _document(own["manifest.json"], MANIFEST)
        digests = [(each["name"], each["bytes"], each["sha256"]) for each in manifest["files"]]
        for name, size, digest in digests:
            content = own.get(name)
            if content is None or (len(content), hashlib.sha256(content).hexdigest()) != (size, digest):
                yield f"{folder}{name} is not the file of its manifest"
        if manifest["period"] != period:
            yield f"{folder}manifest.json is of another period"
        if "statements.json" not in {name for name, *_ in digests}:
            yield f"{folder}manifest.json does not name the statements"
        elif "statements.json" in own:
            statements = _document(own["statements.json"], STATEMENTS)
            for told in _Bills(statements, manifest, books, period).check():
                yield f"{folder}statements.json: {told}"
            if own.get("statements.csv", b"") not in {b"", _csv(statements)}:
                yield f"{folder}statements.csv does not say what statements.json says"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        yield f"{folder} cannot be read: {error!r}"


def _document(content: bytes, form: Fields) -> Fields:
    """Read a file that has one form. Raises `ValueError` for another."""
    document = json.loads(content)
    if json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n" != content or not _is(document, form):
        raise ValueError("the file is not in its form")
    return dict(document)


def _is(value: Any, form: Any) -> bool:
    """Tell whether a value has this form. Properties stand in their order, and one with `?` may be absent."""
    if isinstance(form, tuple):
        return value is None or _is(value, form[0])
    if isinstance(form, list):
        return isinstance(value, list) and all(_is(each, form[0]) for each in value)
    if form == {str: str}:
        return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
    if isinstance(form, dict):
        names = [name.rstrip("?") for name in form if not name.endswith("?") or name.rstrip("?") in value]
        return [*value] == names and all(_is(value[name], form.get(name, str)) for name in names)
    return type(value) is form


def usd(pusd: int) -> str:
    whole, fraction = divmod(abs(pusd), 10**12)
    return f"{'-' if pusd < 0 else ''}{whole}.{f'{fraction:012}'.rstrip('0').ljust(2, '0')}"


def pusd_of(text: str) -> int:
    found = re.fullmatch(r"(-?)([0-9]{1,30})\.([0-9]{2,12})", text)
    pusd = 0 if found is None else int(found[1] + found[2] + found[3].ljust(12, "0"))
    if usd(pusd) != text:
        raise ValueError(f"{text} is no amount")
    return pusd


def cents_of(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,30}\.[0-9]{2}", text) or pusd_of(text) % 10**10:
        raise ValueError(f"{text} is no amount in cents")
    return pusd_of(text) // 10**10


class _Bills:
    def __init__(self, statements: Fields, manifest: Fields, books: Books, period: str) -> None:
        self.statements, self.manifest, self.books, self.period = statements, manifest, books, period

    def check(self) -> Iterator[str]:
        statements, bills = self.statements, self.statements["tenants"]
        facts = [statements[name] for name in ("period", "status", "currency", "manifest")]
        if facts != [self.period, "final", "USD", f"{self.period}/manifest.json"]:
            yield "the file is of another period, or states another status"
        totals = {"total_cost_usd": sum(cents_of(bill["total_cost_usd"]) for bill in bills),
                  "total_tokens": sum(bill["tokens_used"] for bill in bills),
                  "total_entries": sum(bill["entries"] for bill in bills)}  # fmt: skip
        manifest = self.manifest | {"total_cost_usd": cents_of(self.manifest["total_cost_usd"])}
        if any(manifest[name] != total for name, total in totals.items()):
            yield "the totals of the manifest are not those of the bills"
        if cents_of(statements["total_cost_usd"]) != totals["total_cost_usd"]:
            yield "the total is not that of the bills"
        yield from self._cost_centers(bills)
        yield from self._books({bill["tenant_id"]: bill for bill in bills})

    def _cost_centers(self, bills: list[Fields]) -> Iterator[str]:
        sums: Counter[str] = Counter()
        for bill in bills:
            for line in bill["lines"]:
                sums[line.get("cost_center", bill["cost_center"])] += cents_of(line["cost_usd"])
        stated = {each["cost_center"]: cents_of(each["cost_usd"]) for each in self.statements["cost_centers"]}
        if len(stated) != len(self.statements["cost_centers"]) or Counter(stated) != sums:
            yield "the cost centers do not pay what the lines sum to"

    def _books(self, bills: dict[str, Fields]) -> Iterator[str]:
        lanes: defaultdict[str, list[Lane]] = defaultdict(list)
        for lane in sorted(self.books.lanes.values(), key=lambda lane: lane.name):
            if lane.balance is not None:
                lanes[lane.tenant].append(lane)
        heads = {lane.name: (lane.balance or {}).get("head") for own in lanes.values() for lane in own}
        if self.manifest["chain_heads"] != heads:
            yield "the chain heads of the manifest are not those of the books"
        for tenant in sorted(lanes.keys() | bills.keys()):
            if tenant not in lanes or tenant not in bills:
                yield f"{tenant} has books or a bill only"
            elif all(lane.is_readable for lane in lanes[tenant]):
                yield from (f"{tenant}: {each}" for each in self._bill(bills[tenant], lanes[tenant]))

    def _bill(self, bill: Fields, lanes: list[Lane]) -> Iterator[str]:
        balances = [lane.balance or {} for lane in lanes]
        entries = [entry for lane in lanes for entry in lane.entries if entry["kind"] in OF_REQUESTS]
        sums: Counter[str] = Counter()
        for entry in entries:
            sums.update(sums_of(entry))
        used = {unit: sum(balance[f"used_{unit}"] for balance in balances) for unit in ("tokens", "pusd")}
        quota, budget = balances[0]["limit_tokens"], balances[0]["limit_pusd"]
        percent = None if quota == -1 else round(100 * used["tokens"] / quota, 1) if quota else 100.0
        due = {
            "tokens_used": used["tokens"], "exact_cost_usd": usd(used["pusd"]),
            "total_cost_usd": str((Decimal(used["pusd"]) / 10**12).quantize(Decimal("0.01"), ROUND_HALF_EVEN)),
            "entries": sum(balance["seq"] for balance in balances),
            "chain_heads": {lane.name.partition("|")[2]: (lane.balance or {})["head"] for lane in lanes},
            "quota_tokens": None if quota == -1 else quota, "utilization_percent": percent,
            "budget_usd": None if budget == -1 else usd(budget),
            **{name: sums[name] for name in COUNTED},
        }  # fmt: skip
        if any(balance["state"] != "CLOSED" for balance in balances):
            yield "a lane is not closed"
        yield from (f"{name} is {bill[name]}, not {value}" for name, value in due.items() if bill[name] != value)
        yield from self._lines(bill, entries)

    def _lines(self, bill: Fields, entries: list[Fields]) -> Iterator[str]:
        centers = {line.get("cost_center", bill["cost_center"]) for line in bill["lines"]}
        stated = self._stated(bill, has_centers=len(centers) > 1)
        if stated != self._due(entries, has_centers=len(centers) > 1):
            yield "the lines are not what the entries sum to"
        cents, exact = Counter[str](), 0
        for line in bill["lines"]:
            whole, pusd = cents_of(line["cost_usd"]), pusd_of(line["exact_cost_usd"])
            cents["sum"] += whole
            exact += pusd
            if not -(10**10) < whole * 10**10 - pusd < 10**10:
                yield f"the line of {line['meter']} is not rounded"
        if cents["sum"] != cents_of(bill["total_cost_usd"]) or usd(exact) != bill["exact_cost_usd"]:
            yield "the lines do not add up"

    def _stated(self, bill: Fields, *, has_centers: bool) -> dict[tuple[str, ...], tuple[int, int]]:
        sums: dict[tuple[str, ...], tuple[int, int]] = {}
        for line in bill["lines"]:
            center = line.get("cost_center", bill["cost_center"]) if has_centers else ""
            key = (center, line["deployment"], line["model"], line["meter"])
            quantity, cost = sums.get(key, (0, 0))
            sums[key] = quantity + line["quantity"], cost + pusd_of(line["exact_cost_usd"])
        return sums

    def _due(self, entries: list[Fields], *, has_centers: bool) -> dict[tuple[str, ...], tuple[int, int]] | None:
        """Return the lines that the entries sum to."""
        sums: dict[tuple[str, ...], tuple[int, int]] = {}
        for entry in entries:
            for version, usage in charges(entry):
                prices, rows = self.books.prices.per_unit(version), self.books.prices.rows(version)
                if prices is None or rows is None:
                    return None
                model = entry.get("model", "") if version == entry.get("price_version", "") else rows[0]["model"]
                for meter in METERS:
                    if usage[meter]:
                        variant = entry.get("variant", "") if meter == "images" else ""
                        name = " ".join(part for part in (meter, variant, self.books.prices.label(version)) if part)
                        center = entry.get("cost_center", "") if has_centers else ""
                        key = (center, entry["deployment"], model, name)
                        quantity, cost = sums.get(key, (0, 0))
                        sums[key] = quantity + usage[meter], cost + usage[meter] * prices[meter]
        return sums


def _csv(statements: Fields) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for bill in statements["tenants"]:
        for line in bill["lines"]:
            names = (bill["tenant_id"], bill["tenant_name"], line.get("cost_center", bill["cost_center"]),
                     line["deployment"], line["model"], line["meter"])  # fmt: skip
            safe = [f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name for name in names]
            writer.writerow((statements["period"], *safe, line["quantity"], line["cost_usd"], line["exact_cost_usd"]))
    return text.getvalue().encode()
