"""Write a closed period's statements as files. What is written stays: a rerun completes them and changes no byte."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence

from shared.application.ports.billing import ReportStore
from shared.application.ports.ledger import Ledger
from shared.application.ports.pricing import PriceStore
from shared.application.ports.tenancy import TenantDirectory
from shared.domain.billing.statements import Statement, Tally, cost_centers, statement, utilization_percent
from shared.domain.ledger.balance import LaneState
from shared.domain.ledger.entries import EntryKind
from shared.domain.ledger.lanes import combined
from shared.domain.pricing.money import usd, usd_of_cents
from shared.domain.pricing.price_book import PriceBook

_COLUMNS = (
    "period",
    "tenant_id",
    "tenant_name",
    "cost_center",
    "deployment",
    "model",
    "meter",
    "quantity",
    "cost_usd",
    "exact_cost_usd",
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class BuildStatement:
    """Requires that every lane of the period is closed; a tenant has one bill over all of its lanes."""

    def __init__(self, ledger: Ledger, tenants: TenantDirectory, prices: PriceStore, reports: ReportStore) -> None:
        self._ledger = ledger
        self._tenants = tenants
        self._prices = prices
        self._reports = reports

    async def __call__(self, period: str) -> dict[str, str]:
        """Write `statements.json`, `statements.csv` and, last, `manifest.json`; returns each file's SHA-256."""
        prices = PriceBook(await self._prices.load())
        bills: list[Statement] = []
        closed_at = ""
        async for lane in self._ledger.lanes(period):
            if lane == lane.vault:
                bill, tenant_closed_at = await self._bill(lane.tenant_id, period, prices)
                bills.append(bill)
                closed_at = max(closed_at, tenant_closed_at)
        total = sum(bill.cost_cents for bill in bills)
        files = {
            "statements.json": _json(_statements_document(period, closed_at, bills, total)),
            "statements.csv": _csv(period, bills),
        }
        for name, content in files.items():
            files[name] = await self._write(f"{period}/{name}", content)
        manifest = _json(_manifest(period, files, bills, total))
        files["manifest.json"] = await self._write(f"{period}/manifest.json", manifest)
        return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}

    async def _write(self, path: str, content: bytes) -> bytes:
        """Write a file unless an earlier run did; returns what is there."""
        existing = await self._reports.read(path)
        if existing is None:
            await self._reports.write_once(path, content)
        return existing or content

    async def _bill(self, tenant_id: str, period: str, prices: PriceBook) -> tuple[Statement, str]:
        """A tenant's bill over all of its lanes, and when the last of them was closed."""
        balances = await self._ledger.balances(tenant_id, period)
        tally = Tally(prices)
        closed_at = latest = cost_center = ""
        if not balances or any(balance.state is not LaneState.CLOSED for balance in balances.values()):
            raise PeriodStillOpen(tenant_id)
        for lane, balance in balances.items():
            async for entry in self._ledger.entries(lane, 1, balance.seq):
                tally.add(entry)
                if entry.attempt is not None and entry.timestamp >= latest:
                    latest, cost_center = entry.timestamp, entry.attempt.cost_center
                if entry.kind is EntryKind.CLOSE:
                    closed_at = max(closed_at, entry.timestamp)
        known = await self._tenants.get(tenant_id)
        name, current_cost_center = (known.value.name, known.value.cost_center) if known else (tenant_id, "")
        tags = known.value.tags if known else {}
        heads = {f"{lane.number:02}": balance.head for lane, balance in balances.items()}
        total = combined([*balances.values()])
        bill = statement(tenant_id, name, cost_center or current_cost_center, tags, total, heads, tally)
        return bill, closed_at


class PeriodStillOpen(Exception):
    """A lane of the period is not closed."""


def _statements_document(period: str, closed_at: str, bills: Sequence[Statement], total: int) -> dict[str, object]:
    return {
        "report_generated": closed_at,
        "period": period,
        "status": "final",
        "currency": "USD",
        "tenants": [_bill_document(bill) for bill in bills],
        "cost_centers": [
            {"cost_center": name, "cost_usd": usd_of_cents(amount)} for name, amount in cost_centers(bills).items()
        ],
        "total_cost_usd": usd_of_cents(total),
        "manifest": f"{period}/manifest.json",
    }


def _bill_document(bill: Statement) -> dict[str, object]:
    return {
        "tenant_id": bill.tenant_id,
        "tenant_name": bill.tenant_name,
        "cost_center": bill.cost_center,
        "tags": dict(bill.tags),
        "requests": bill.requests,
        "failed_requests": bill.failed_requests,
        "tokens_used": bill.tokens_used,
        "quota_tokens": bill.quota_tokens,
        "utilization_percent": utilization_percent(bill.tokens_used, bill.quota_tokens),
        "budget_usd": None if bill.budget_pusd is None else usd(bill.budget_pusd),
        "estimated_tokens": bill.estimated_tokens,
        "content_filter_flags": bill.content_filter_flags,
        "total_cost_usd": usd_of_cents(bill.cost_cents),
        "exact_cost_usd": usd(bill.cost_pusd),
        "chain_heads": dict(bill.chain_heads),
        "entries": bill.entries,
        "lines": [
            {
                "deployment": line.deployment,
                "model": line.model,
                "meter": line.meter,
                "quantity": line.quantity,
                "cost_usd": usd_of_cents(line.cost_cents),
                "exact_cost_usd": usd(line.cost_pusd),
            }
            for line in bill.lines
        ],
    }


def _manifest(period: str, files: dict[str, bytes], bills: Sequence[Statement], total: int) -> dict[str, object]:
    return {
        "period": period,
        "files": [
            {"name": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in files.items()
        ],
        "total_cost_usd": usd_of_cents(total),
        "total_tokens": sum(bill.tokens_used for bill in bills),
        "total_entries": sum(bill.entries for bill in bills),
        "chain_heads": {f"{bill.tenant_id}|{lane}": head for bill in bills for lane, head in bill.chain_heads.items()},
    }


def _csv(period: str, bills: Sequence[Statement]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for bill in bills:
        for line in bill.lines:
            cells = (bill.tenant_id, bill.tenant_name, bill.cost_center, line.deployment, line.model, line.meter)
            amounts = (line.quantity, usd_of_cents(line.cost_cents), usd(line.cost_pusd))
            writer.writerow((period, *(_not_a_formula(cell) for cell in cells), *amounts))
    return text.getvalue().encode()


def _not_a_formula(cell: str) -> str:
    """Spreadsheets run cells that start like a formula: https://owasp.org/www-community/attacks/CSV_Injection."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell


def _json(document: dict[str, object]) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
