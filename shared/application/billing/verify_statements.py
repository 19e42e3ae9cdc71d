"""Check the files of a closed period against its books, and in themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from shared.application.ledger.findings import Finding
from shared.application.ports.billing import ManifestFormat, ReportStore, StatementFormat
from shared.application.ports.ledger import Ledger
from shared.application.ports.pricing import PriceStore
from shared.domain.billing.manifest import Manifest, StatementFile
from shared.domain.billing.statements import (
    LineKey,
    PeriodStatements,
    Statement,
    StatementLine,
    Tally,
    chain_heads,
    cost_centers,
)
from shared.domain.errors import UnpricedModel
from shared.domain.ledger.balance import Balance, Lane, LaneState
from shared.domain.ledger.lanes import combined
from shared.domain.pricing.money import usd, usd_of_cents
from shared.domain.pricing.price_book import PriceBook

_INVARIANT = "I12"


class VerifyStatements:
    """Invariant I12. A period without a manifest has no files to check."""

    def __init__(
        self,
        ledger: Ledger,
        prices: PriceStore,
        reports: ReportStore,
        statements: StatementFormat,
        manifest: ManifestFormat,
    ) -> None:
        self._ledger = ledger
        self._prices = prices
        self._reports = reports
        self._statements = statements
        self._manifest = manifest

    async def is_exported(self, period: str) -> bool:
        """Tell whether the period has a manifest. Raises `StorageUnavailable`."""
        return await self._reports.read(f"{period}/{self._manifest.file_name}") is not None

    async def __call__(self, period: str) -> list[Finding]:
        """List what is wrong with the period's files."""
        content = await self._reports.read(f"{period}/{self._manifest.file_name}")
        if content is None:
            return []
        try:
            messages = await self._contradictions(period, self._manifest.read(content))
        except ValueError as error:
            messages = [f"the files of {period} cannot be read: {error}"]
        return [Finding(invariant=_INVARIANT, tenant_id="", message=message) for message in messages]

    async def _contradictions(self, period: str, manifest: Manifest) -> list[str]:
        contents = {file.name: await self._reports.read(f"{period}/{file.name}") for file in manifest.files}
        found = list(_changed_files(manifest.files, contents))
        if self._statements.file_name not in contents:
            return [*found, f"the manifest does not name {self._statements.file_name}"]
        content = contents[self._statements.file_name]
        return found if content is None else [*found, *await self._wrong_statements(period, manifest, content)]

    async def _wrong_statements(self, period: str, manifest: Manifest, content: bytes) -> list[str]:
        try:
            statements = self._statements.read(content)
        except ValueError as error:
            return [f"{self._statements.file_name} of {period} cannot be read: {error}"]
        found = [*_wrong_totals(manifest, statements), *_wrong_sums(statements)]
        bills = {bill.tenant_id: bill for bill in statements.statements}
        prices, heads = PriceBook(await self._prices.load()), dict[str, str]()
        lanes = [lane async for lane in self._ledger.lanes(period)]
        for name in sorted({*bills, *(lane.tenant_id for lane in lanes)}):
            balances = await self._ledger.balances(name, period)
            heads |= {f"{name}|{lane}": head for lane, head in chain_heads(balances).items()}
            found += await self._wrong_bill(name, bills.get(name), balances, prices)
        if manifest.chain_heads != heads:
            found.append("the chain heads of the manifest are not those of the books")
        return found

    async def _wrong_bill(
        self, name: str, bill: Statement | None, balances: Mapping[Lane, Balance], prices: PriceBook
    ) -> list[str]:
        if bill is None or not balances:
            return [] if bill is None and not balances else [f"{name} has {'books' if balances else 'a bill'} only"]
        is_open = any(balance.state is not LaneState.CLOSED for balance in balances.values())
        found = [f"{name} has a bill and a lane that is not closed"] if is_open else []
        tally = Tally(prices)
        try:
            for lane, balance in balances.items():
                async for entry in self._ledger.entries(lane, 1, balance.seq):
                    tally.add(entry)
        except UnpricedModel as error:
            return [*found, f"{name}: the lines cannot be checked: {error}"]
        return [*found, *_wrong_totals_of_bill(bill, balances, tally), *_wrong_lines(bill, tally)]


def _wrong_totals_of_bill(bill: Statement, balances: Mapping[Lane, Balance], tally: Tally) -> list[str]:
    total, sums = combined([*balances.values()]), tally.sums
    return [
        f"{bill.tenant_id}: {field} is {stated} in the bill and {booked} in the books"
        for field, stated, booked in (
            ("tokens_used", bill.tokens_used, total.used.tokens),
            ("exact_cost_usd", usd(bill.cost_pusd), usd(total.used.pusd)),
            ("entries", bill.entries, total.seq),
            ("chain_heads", bill.chain_heads, chain_heads(balances)),
            ("limit", (bill.quota_tokens, bill.budget_pusd), (total.limit.tokens, total.limit.pusd)),
            ("requests", (bill.requests, bill.failed_requests), (sums.requests, sums.failed_requests)),
            ("estimated_tokens", bill.estimated_tokens, sums.estimated_tokens),
            ("content_filter_flags", bill.content_filter_flags, sums.content_filter_flags),
        )
        if stated != booked
    ]


def _wrong_lines(bill: Statement, tally: Tally) -> Iterator[str]:
    """Compare lines with the entries.

    Earlier versions charged all lines of a tenant to one cost center. Such a bill is compared without cost centers.
    """
    has_centers = len({line.cost_center for line in bill.lines}) > 1
    stated, booked = (_by_line(lines, has_centers=has_centers) for lines in (bill.lines, tally.lines()))
    for key in sorted(stated.keys() | booked.keys()):
        if stated.get(key) != booked.get(key):
            yield f"{bill.tenant_id}: the bill's line {' '.join(filter(None, key))} is not what the entries sum to"


def _by_line(lines: Iterable[StatementLine], *, has_centers: bool) -> dict[LineKey, tuple[int, int]]:
    """Sum quantities and costs by line."""
    sums: dict[LineKey, tuple[int, int]] = {}
    for line in lines:
        key = (line.cost_center if has_centers else "", line.deployment, line.model, line.meter)
        quantity, cost = sums.get(key, (0, 0))
        sums[key] = quantity + line.quantity, cost + line.cost_pusd
    return sums


def _changed_files(files: Iterable[StatementFile], contents: Mapping[str, bytes | None]) -> Iterator[str]:
    for file in files:
        content = contents[file.name]
        if content is None:
            yield f"{file.name} is missing"
        elif StatementFile.of(file.name, content) != file:
            yield f"{file.name} is not what the manifest names"


def _wrong_totals(manifest: Manifest, statements: PeriodStatements) -> Iterator[str]:
    bills = statements.statements
    yield from _unequal("total_tokens", manifest.tokens, sum(bill.tokens_used for bill in bills))
    yield from _unequal("total_entries", manifest.entries, sum(bill.entries for bill in bills))
    yield from _unequal_cents("total_cost_usd", manifest.cost_cents, (bill.cost_cents for bill in bills))


def _wrong_sums(statements: PeriodStatements) -> Iterator[str]:
    total, bills = statements.cost_cents, statements.statements
    yield from _unequal_cents("total_cost_usd of all", total, (bill.cost_cents for bill in bills))
    yield from _wrong_cost_centers(statements.cost_centers, cost_centers(bills))
    for bill in bills:
        name = bill.tenant_id
        yield from _unequal_cents(
            f"total_cost_usd of {name}", bill.cost_cents, (line.cost_cents for line in bill.lines)
        )
        exact = sum(line.cost_pusd for line in bill.lines)
        yield from _unequal(f"exact_cost_usd of {name}", usd(bill.cost_pusd), usd(exact))


def _wrong_cost_centers(stated: Mapping[str, int], added: Mapping[str, int]) -> Iterator[str]:
    for name in sorted(stated.keys() | added.keys()):
        if stated.get(name, 0) != added.get(name, 0):
            pays = usd_of_cents(stated[name]) if name in stated else "nothing"
            yield f"cost center {name} pays {pays}, its lines add up to {usd_of_cents(added.get(name, 0))}"


def _unequal_cents(field: str, stated: int, parts: Iterable[int]) -> Iterator[str]:
    return _unequal(field, usd_of_cents(stated), usd_of_cents(sum(parts)))


def _unequal(field: str, stated: object, added: object) -> Iterator[str]:
    if stated != added:
        yield f"{field} is {stated}, its parts add up to {added}"
