"""Export the evidence of whole periods into one package: the work of `tallygate evidence`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from shared.application.evidence.export_anchors import ExportAnchors
from shared.application.evidence.export_audit import ExportAudit
from shared.application.evidence.summary import SummaryRenderer
from shared.application.ports.billing import ManifestFormat, ReportStore, StatementFormat, StatementRenderer
from shared.application.ports.evidence import BooksArchive, EvidenceFiles, PackageFacts
from shared.application.ports.tenancy import TenantDirectory
from shared.domain.audit.package_paths import PERIODS, STATEMENTS, SUMMARY
from shared.domain.billing.manifest import StatementFile, manifest_of
from shared.domain.billing.statements import PeriodStatements, period_statements
from shared.domain.errors import NotFound

Progress = Callable[[int, int], None]


class ExportEvidence:
    """Writes a package. It holds no secret, and only texts and numbers that the gateway has stored before."""

    def __init__(
        self,
        *,
        books: BooksArchive,
        tenants: TenantDirectory,
        anchors: ExportAnchors,
        audit: ExportAudit,
        reports: ReportStore,
        stored_format: StatementFormat,
        renderers: Sequence[StatementRenderer],
        manifest: ManifestFormat,
        summary: SummaryRenderer,
    ) -> None:
        self._books = books
        self._tenants = tenants
        self._anchors = anchors
        self._audit = audit
        self._reports = reports
        self._stored_format = stored_format
        self._renderers = renderers
        self._manifest = manifest
        self._summary = summary

    async def __call__(self, facts: PackageFacts, package: EvidenceFiles, report: Progress) -> None:
        """Write all files but the manifest. Reports progress in leaves.

        - The log of heads is read first, so that it has nothing that the books lack.
        - Raises `NotFound` for an unknown tenant, `DocumentsMove` and `StorageUnavailable`.
        """
        if facts.tenant is not None and await self._tenants.get(facts.tenant) is None:
            raise NotFound(f"No tenant '{facts.tenant}' is registered.")
        leaves, checkpoint = await self._anchors(package, facts.tenant, report)
        statements: dict[str, PeriodStatements] = {}
        with TemporaryDirectory() as name:
            folder = Path(name)
            events = await self._audit(package, facts.tenant, folder)
            for period in facts.periods:
                # Statements are written once the books are closed: read in this order, both agree.
                if (found := await self._statements(period, facts.tenant, package)) is not None:
                    statements[period] = found
                books = folder / f"{period}.gz"
                await self._books.export(period, books, only=facts.tenant)
                package.add_file(f"{PERIODS}/{period}.gz", books)
            if facts.tenant is None:
                await self._audit.require_same_prices()
        periods = [(period, statements.get(period)) for period in facts.periods]
        shown = [] if facts.tenant else [*events.items()]
        package.add(SUMMARY, self._summary.render(facts, periods, leaves, checkpoint, shown))

    async def _statements(self, period: str, tenant: str | None, package: EvidenceFiles) -> PeriodStatements | None:
        """Add the statements of a period; `None` if it has none. Raises `ValueError` if they are damaged."""
        content = await self._reports.read(f"{period}/{self._manifest.file_name}")
        if content is None:
            return None
        names = [file.name for file in self._manifest.read(content).files]
        files = {name: await self._reports.read(f"{period}/{name}") or b"" for name in names}
        statements = self._stored_format.read(files[self._stored_format.file_name])
        if tenant is not None:
            statements = _of_tenant(statements, tenant)
            files = {each.file_name: each.render(statements) for each in self._renderers}
            written = [StatementFile.of(name, each) for name, each in files.items()]
            content = self._manifest.render(manifest_of(statements, written))
        for name, each in {**files, self._manifest.file_name: content}.items():
            package.add(f"{STATEMENTS}/{period}/{name}", each)
        return statements


def _of_tenant(statements: PeriodStatements, tenant: str) -> PeriodStatements:
    """Return the statements of one tenant, with totals of its own."""
    own = [bill for bill in statements.statements if bill.tenant_id == tenant]
    return period_statements(statements.period, statements.closed_at, own)
