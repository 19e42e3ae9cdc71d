"""Check the files of a closed period against its books, and in themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from shared.application.ledger.verify_ledger import Finding
from shared.application.ports.billing import ReportStore
from shared.application.ports.ledger import Ledger
from shared.domain.ledger.lanes import combined
from shared.domain.pricing.money import usd

_INVARIANT = "I12"


class VerifyStatements:
    """Invariant I12. A period without a manifest has no files to check."""

    def __init__(self, ledger: Ledger, reports: ReportStore) -> None:
        self._ledger = ledger
        self._reports = reports

    async def __call__(self, period: str) -> list[Finding]:
        """What is wrong with the period's files."""
        manifest = await self._reports.read(f"{period}/manifest.json")
        if manifest is None:
            return []
        try:
            stated = json.loads(manifest)
            contents = {file["name"]: await self._reports.read(f"{period}/{file['name']}") for file in stated["files"]}
            statements = json.loads(contents["statements.json"] or b"{}")
            found = [*_files(stated["files"], contents), *_sums(stated, statements)]
            for bill in statements["tenants"]:
                found += await self._against_the_books(period, bill)
        except (ValueError, KeyError, TypeError) as error:
            found = [f"the files of {period} cannot be read: {error!r}"]
        return [Finding(_INVARIANT, "", message) for message in found]

    async def _against_the_books(self, period: str, bill: dict[str, Any]) -> list[str]:
        name = bill["tenant_id"]
        balances = await self._ledger.balances(name, period)
        if not balances:
            return [f"{name} has a bill and no books"]
        total = combined([*balances.values()])
        heads = {f"{lane.number:02}": balance.head for lane, balance in balances.items()}
        return [
            f"{name}: {what} is {stated} in the bill and {booked} in the books"
            for what, stated, booked in (
                ("tokens_used", bill["tokens_used"], total.used.tokens),
                ("exact_cost_usd", bill["exact_cost_usd"], usd(total.used.pusd)),
                ("entries", bill["entries"], total.seq),
                ("chain_heads", bill["chain_heads"], heads),
            )
            if stated != booked
        ]


def _files(stated: Iterable[dict[str, Any]], contents: dict[str, bytes | None]) -> list[str]:
    found = []
    for file in stated:
        content = contents[file["name"]]
        if content is None:
            found.append(f"{file['name']} is missing")
        elif (len(content), hashlib.sha256(content).hexdigest()) != (file["bytes"], file["sha256"]):
            found.append(f"{file['name']} is not what the manifest names")
    return found


def _sums(manifest: dict[str, Any], statements: dict[str, Any]) -> list[str]:
    bills = statements["tenants"]
    sums = [
        ("total_tokens", manifest["total_tokens"], sum(bill["tokens_used"] for bill in bills)),
        ("total_entries", manifest["total_entries"], sum(bill["entries"] for bill in bills)),
        ("total_cost_usd", manifest["total_cost_usd"], _added(bills, "total_cost_usd")),
        ("total_cost_usd of all", statements["total_cost_usd"], _added(bills, "total_cost_usd")),
        ("cost_centers", statements["total_cost_usd"], _added(statements["cost_centers"], "cost_usd")),
    ]
    for bill in bills:
        name, lines = bill["tenant_id"], bill["lines"]
        sums.append((f"total_cost_usd of {name}", bill["total_cost_usd"], _added(lines, "cost_usd")))
        exact = _added(lines, "exact_cost_usd", lambda total: total.normalize())
        sums.append((f"exact_cost_usd of {name}", Decimal(bill["exact_cost_usd"]).normalize(), exact))
    return [f"{what} is {stated}, its parts add up to {added}" for what, stated, added in sums if stated != added]


def _added(parts: Iterable[dict[str, Any]], field: str, shown: Callable[[Decimal], object] = "{:.2f}".format) -> object:
    return shown(sum((Decimal(part[field]) for part in parts), Decimal()))
