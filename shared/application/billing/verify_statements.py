"""Check the files of a closed period against its books, and in themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from shared.application.ledger.findings import Finding
from shared.application.ledger.verify_ledger import PriceRows
from shared.application.ports.billing import ManifestFormat, StatementFormat, StatementRenderer
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
from shared.domain.ledger.entries import LedgerEntry
from shared.domain.ledger.lanes import combined
from shared.domain.pricing.money import PUSD_PER_CENT, cents, usd, usd_of_cents
from shared.domain.pricing.price_book import PriceBook

_INVARIANT = "I12"


class BilledLedger(Protocol):
    """The books that bills are compared with. All methods raise `LedgerUnavailable`."""

    def lanes(self, period: str) -> AsyncIterator[Lane]:
        """Yield each lane of a period."""
        ...

    async def balances(self, tenant_id: str, period: str) -> dict[Lane, Balance]:
        """Return the balances of all lanes of a tenant."""
        ...

    def entries(self, lane: Lane, first: int, last: int) -> AsyncIterator[LedgerEntry]:
        """Yield the entries numbered `first` to `last`, ascending."""
        ...


class ReportFiles(Protocol):
    """Files of statements, to be read."""

    async def read(self, path: str) -> bytes | None:
        """Return the content of a file; `None` if it does not exist. Raises `StorageUnavailable`."""
        ...


class VerifyStatements:
    """Invariant I12. A period without a manifest has no files to check."""

    def __init__(
        self,
        ledger: BilledLedger,
        prices: PriceRows,
        reports: ReportFiles,
        statements: StatementFormat,
        manifest: ManifestFormat,
        renderers: Sequence[StatementRenderer] = (),
    ) -> None:
        """Files of `renderers` must have the bytes that they render from the statements again."""
        self._ledger = ledger
        self._prices = prices
        self._reports = reports
        self._statements = statements
        self._manifest = manifest
        self._renderers = renderers

    async def is_exported(self, period: str) -> bool:
        """Tell whether the period has a manifest. Raises `StorageUnavailable`."""
        return await self._reports.read(f"{period}/{self._manifest.file_name}") is not None

    async def __call__(self, period: str) -> list[Finding]:
        """List what is wrong with the period's files."""
        content = await self._reports.read(f"{period}/{self._manifest.file_name}")
        if content is None:
            return []
        try:
            manifest = self._manifest.read(content)
            messages = await self._contradictions(period, manifest)
            if self._manifest.render(manifest) != content:
                messages.append(f"the manifest of {period} is not in its form")
        except ValueError as error:
            messages = [f"the files of {period} cannot be read: {error}"]
        return [Finding(invariant=_INVARIANT, tenant_id="", message=message) for message in messages]

    async def _contradictions(self, period: str, manifest: Manifest) -> list[str]:
        contents = {file.name: await self._reports.read(f"{period}/{file.name}") for file in manifest.files}
        found = list(_changed_files(manifest.files, contents))
        if manifest.period != period:
            found.append(f"the manifest is of {manifest.period}, not of {period}")
        if self._statements.file_name not in contents:
            return [*found, f"the manifest does not name {self._statements.file_name}"]
        content = contents[self._statements.file_name]
        if content is None:
            return found
        return [*found, *await self._wrong_statements(period, manifest, content), *self._rendered(content, contents)]

    def _rendered(self, content: bytes, contents: Mapping[str, bytes | None]) -> list[str]:
        """List the files that do not say the same as the statements."""
        try:
            statements = self._statements.read(content)
        except ValueError:
            return []  # told already
        return [
            f"{each.file_name} does not say what {self._statements.file_name} says"
            for each in self._renderers
            if contents.get(each.file_name) is not None and each.render(statements) != contents[each.file_name]
        ]

    async def _wrong_statements(self, period: str, manifest: Manifest, content: bytes) -> list[str]:
        try:
            statements = self._statements.read(content)
        except ValueError as error:
            return [f"{self._statements.file_name} of {period} cannot be read: {error}"]
        found = [*_wrong_totals(manifest, statements), *_wrong_sums(statements)]
        if statements.period != period:
            found.append(f"{self._statements.file_name} is of {statements.period}, not of {period}")
        bills = {bill.tenant_id: bill for bill in statements.statements}
        prices, heads = (await self._prices.load()).book, dict[str, str]()
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
            ("total_cost_usd", usd_of_cents(bill.cost_cents), usd_of_cents(cents(total.used.pusd))),
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
        yield from _not_rounded(bill)
        yield from _unequal_cents(
            f"total_cost_usd of {name}", bill.cost_cents, (line.cost_cents for line in bill.lines)
        )
        exact = sum(line.cost_pusd for line in bill.lines)
        yield from _unequal(f"exact_cost_usd of {name}", usd(bill.cost_pusd), usd(exact))


def _not_rounded(bill: Statement) -> Iterator[str]:
    """Yield the lines whose cents are not their exact cost, rounded down or up."""
    for line in bill.lines:
        if abs(line.cost_cents * PUSD_PER_CENT - line.cost_pusd) >= PUSD_PER_CENT:
            key = " ".join(filter(None, (line.deployment, line.model, line.meter)))
            amounts = f"{usd_of_cents(line.cost_cents)} of {usd(line.cost_pusd)}"
            yield f"{bill.tenant_id}: the bill's line {key} is not rounded: {amounts}"


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
