"""Verify files without an account, without settings and without a secret.

An import contract keeps everything away from here that reads settings or can reach storage. Rows are kept in temporary
files, so that a period of any size takes little memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from tempfile import TemporaryDirectory

from shared.adapters.canonical_json import encode_canonical
from shared.adapters.documents.pricing import DocumentPrices
from shared.adapters.ecdsa_keys import KeyUnusable, public_keys_from_pem
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.on_disk.dated_heads import DiskDatedHeads
from shared.adapters.on_disk.evidence_package import EvidencePackage, PackagedReports, is_package
from shared.adapters.on_disk.log_files import StoredLog, open_folder
from shared.adapters.on_disk.table_store import DiskSet, SqliteTableStore
from shared.adapters.statements.all_renderers import RENDERERS
from shared.adapters.statements.json_manifest import JsonManifest
from shared.adapters.statements.json_statements import JsonStatements
from shared.adapters.tables.archive import PeriodArchive
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.rollups import rollup_table_of
from shared.adapters.tables.rows import REGISTRY_TABLE, table_of
from shared.application.billing.verify_statements import VerifyStatements
from shared.application.evidence.anchored_log import ReadLog
from shared.application.evidence.billed_books import BilledBooks
from shared.application.evidence.verify_export import ExportFiles, ExportResult, SignedLog, VerifyExport
from shared.application.ledger.audited_limits import AuditedLimits
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.cli.package_verification import PackageVerified, log_findings, of_package, verify_package
from shared.cli.verification import ALWAYS_UNCHECKED, Verification
from shared.domain.audit.hash_chain import ChainVerifier
from shared.domain.audit.signed_note import PublicKey
from shared.domain.values import record

Progress = Callable[[int, int], None]


@record
class Question:
    """The files to verify, and what they are to be verified against."""

    archive: Path
    """A file of `tallygate backup`, or an evidence package."""
    checkpoints: Path | None = None
    """A copy of the container of anchors."""
    public_keys: Sequence[Path] = ()
    kept: Sequence[Path] = ()
    """Checkpoints that the auditor kept."""
    tenant: str | None = None
    needs_sha256: bool = False
    chain_keys: Mapping[str, bytes] = field(default_factory=dict)
    key_ends: Mapping[str, str] = field(default_factory=dict)
    """The timestamps from which versions of the chain key must not sign any more."""


async def verify_files(question: Question, report: Progress) -> list[Verification]:
    """Verify an archive or a package. Returns a result for each period.

    Raises `ArchiveDamaged`, `KeyUnusable`, and `OSError` for files that cannot be read.
    """
    if not is_package(question.archive):
        log = None if question.checkpoints is None else _read_log(question, open_folder(question.checkpoints))
        result, period = await _verify_books(question, question.archive, log, None, report)
        return [_verification(period, result, PackageVerified(findings=log_findings(log)))]
    package = EvidencePackage(question.archive)
    log = _package_log(question, package)
    common = await verify_package(question.chain_keys, question.key_ends, package, log)
    results = [each async for each in _verify_periods(question, package, log, common, report)]
    there = {period for period, _ in results}
    results += [(period, ExportResult()) for period in package.facts.periods or [""] if period not in there]
    for period, result in results:
        common.compare_manifest(package, period, result)
    return [_verification(period, result, common) for period, result in results]


def read_public_keys(files: Sequence[Path]) -> list[PublicKey]:
    """Read PEM files. Raises `KeyUnusable`, which names the file, and `OSError`."""
    keys: list[PublicKey] = []
    for file in files:
        try:
            keys += public_keys_from_pem(file.read_bytes())
        except KeyUnusable as error:
            raise KeyUnusable(f"{file}: {error}") from error
    return keys


def _read_log(question: Question, files: StoredLog, kept: Sequence[bytes] = ()) -> SignedLog:
    heads = DiskDatedHeads()
    texts = [*(path.read_bytes() for path in question.kept), *kept]
    verified = ReadLog(read_public_keys(question.public_keys), heads, texts)(files)
    return SignedLog(verified=verified, heads=heads, newest=None if verified.has_heads else set())


def _package_log(question: Question, package: EvidencePackage) -> SignedLog | None:
    """Read the log of a package; the auditor's copy is preferred, and must contain that of the package."""
    own = package.log()
    if question.checkpoints is not None:
        newest = own.newest_checkpoint()
        return _read_log(question, open_folder(question.checkpoints), [newest] if newest else [])
    return _read_log(question, own) if question.public_keys else None


async def _verify_periods(
    question: Question, package: EvidencePackage, log: SignedLog | None, common: PackageVerified, report: Progress
) -> AsyncIterator[tuple[str, ExportResult]]:
    with TemporaryDirectory() as folder:
        books = Path(folder) / "books.gz"
        for period in package.periods():
            package.extract_books(period, books)
            limits = None if package.facts.tenant else common.limits
            result, stated = await _verify_books(question, books, log, package, report, limits)
            if stated != period:
                message = f"the books of {period} are those of {stated}"
                result.findings.append(of_package(message))
            common.compare_prices(period, books, result)
            yield period, result


async def _verify_books(
    question: Question,
    path: Path,
    log: SignedLog | None,
    package: EvidencePackage | None,
    report: Progress,
    limits: AuditedLimits | None = None,
) -> tuple[ExportResult, str]:
    """Restore an archive into a temporary file, and verify its rows. Returns also its period."""
    store, prices = SqliteTableStore(), DocumentPrices(InMemoryDocuments())
    try:
        period = await PeriodArchive(store, prices, is_new=True).restore(path)
        books = TableBooks(store)
        files = ExportFiles(
            period=period,
            books=books,
            tables=store.tables(),
            registries={name async for name in store.partitions(REGISTRY_TABLE)},
            strangers=await _strangers(store, period, package),
        )
        chain = ChainVerifier(question.chain_keys, encode_canonical)
        statements = _statements(books, prices, package)
        verify = VerifyExport(
            files,
            VerifyLedger(books, prices, chain, DiskSet, question.key_ends),
            log,
            statements,
            limits,
            only=question.tenant or (package.facts.tenant if package else None),
            needs_sha256=question.needs_sha256,
            has_documents=package is not None and package.facts.tenant is None,
        )
        return await verify(report), period
    finally:
        store.close()


async def _strangers(store: SqliteTableStore, period: str, package: EvidencePackage | None) -> set[str]:
    """Return the lanes in a package of one tenant that are of others."""
    if package is None or package.facts.tenant is None:
        return set()
    names = {row.key async for row in store.inspect(REGISTRY_TABLE, period, "")}
    for table in (table_of(period), rollup_table_of(period)):
        names |= {name async for name in store.partitions(table)}
    return {name for name in names if not name.startswith(f"{package.facts.tenant}|")}


def _statements(books: TableBooks, prices: DocumentPrices, package: EvidencePackage | None) -> VerifyStatements | None:
    if package is None:
        return None
    reports = PackagedReports(package)
    return VerifyStatements(BilledBooks(books), prices, reports, JsonStatements(), JsonManifest(), RENDERERS)


def _verification(period: str, result: ExportResult, common: PackageVerified) -> Verification:
    findings = [*common.findings, *result.findings]
    return Verification(
        period=period,
        tenants=result.tenants,
        chained=result.chained.rows(),
        findings=findings,
        notes=result.notes,
        not_checked=[*ALWAYS_UNCHECKED, *result.not_checked, *common.not_checked],
        proved=[] if findings or not result.proved else [*result.proved, *common.proved],
    )
