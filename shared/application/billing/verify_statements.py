"""Check the files of a closed period against its books, and in themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from shared.application.ledger.findings import Finding
from shared.application.ports.billing import ManifestFormat, ReportStore, StatementFormat
from shared.application.ports.ledger import Ledger
from shared.domain.billing.manifest import Manifest, StatementFile
from shared.domain.billing.statements import PeriodStatements, Statement, chain_heads, cost_centers
from shared.domain.ledger.lanes import combined
from shared.domain.pricing.money import usd, usd_of_cents

_INVARIANT = "I12"


class VerifyStatements:
    """Invariant I12. A period without a manifest has no files to check."""

    def __init__(
        self, ledger: Ledger, reports: ReportStore, statements: StatementFormat, manifest: ManifestFormat
    ) -> None:
        self._ledger = ledger
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
        for bill in statements.statements:
            found += await self._against_the_books(period, bill)
        return found

    async def _against_the_books(self, period: str, bill: Statement) -> list[str]:
        name = bill.tenant_id
        balances = await self._ledger.balances(name, period)
        if not balances:
            return [f"{name} has a bill and no books"]
        total = combined([*balances.values()])
        return [
            f"{name}: {field} is {stated} in the bill and {booked} in the books"
            for field, stated, booked in (
                ("tokens_used", bill.tokens_used, total.used.tokens),
                ("exact_cost_usd", usd(bill.cost_pusd), usd(total.used.pusd)),
                ("entries", bill.entries, total.seq),
                ("chain_heads", bill.chain_heads, chain_heads(balances)),
            )
            if stated != booked
        ]


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
