"""Verify files without an account, without settings and without a secret.

An import contract keeps everything away from here that reads settings or can reach storage. Rows are kept in temporary
files, so that a period of any size takes little memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from shared.adapters.statements.json_manifest import MANIFEST as STATEMENT_MANIFEST
from shared.adapters.statements.json_manifest import JsonManifest
from shared.adapters.statements.json_statements import JsonStatements
from shared.adapters.statements.summary_page import SummaryPage
from shared.adapters.tables.archive import PeriodArchive
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.rows import REGISTRY_TABLE
from shared.application.audit.verify_anchors import AnchorFinding
from shared.application.billing.verify_statements import VerifyStatements
from shared.application.evidence.anchored_log import ReadLog
from shared.application.evidence.billed_books import BilledBooks
from shared.application.evidence.head_proofs import add_proved_heads
from shared.application.evidence.replay_audit import ReplayAudit
from shared.application.evidence.verify_export import ExportFiles, ExportResult, SignedLog, VerifyExport
from shared.application.ledger.audited_limits import AuditedLimits
from shared.application.ledger.findings import Finding, NotChecked
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.cli.verification import ALWAYS_UNCHECKED, Verification
from shared.domain.audit.hash_chain import ChainVerifier
from shared.domain.audit.package_paths import AUDIT, CONFIGURATION, HEAD_PROOFS, STATEMENTS, SUMMARY
from shared.domain.audit.signed_note import PublicKey
from shared.domain.billing.statements import PeriodStatements
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
        return [_verification(period, result, _Common(findings=_log_findings(log)))]
    package = EvidencePackage(question.archive)
    log = _package_log(question, package)
    common = _common(question, package, log)
    limits = None if package.facts.tenant else common.limits
    results = [each async for each in _verify_periods(question, package, log, limits, report)]
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


@dataclass(slots=True, kw_only=True)
class _Common:
    """Everything that was found about the log of heads, the package and the audit log: it is about all periods."""

    findings: list[Finding] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)
    proved: list[str] = field(default_factory=list)
    limits: AuditedLimits = field(default_factory=AuditedLimits)
    manifests: list[tuple[str, str]] = field(default_factory=list)
    """The periods whose statements were written, and the SHA-256 of their manifests, as the audit log states them."""

    def compare_manifest(self, package: EvidencePackage, period: str, result: ExportResult) -> None:
        """Compare the manifest of a period's statements with that of the audit log."""
        content = package.read(f"{STATEMENTS}/{period}/{STATEMENT_MANIFEST}")
        if content is None or package.facts.tenant is not None:
            return
        stated = [digest for of, digest in self.manifests if of == period]
        if not stated:
            reason = "names and tags in statements: the audit log does not say which manifest was written"
            result.not_checked.append(NotChecked(invariant="I12", reason=reason))
        elif hashlib.sha256(content).hexdigest() not in stated:
            message = f"the manifest of {period} is not the one that the audit log names"
            result.findings.append(Finding(invariant="I12", tenant_id="", message=message))
            result.proved.clear()


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


def _common(question: Question, package: EvidencePackage, log: SignedLog | None) -> _Common:
    common = _Common(findings=[_of_package(each) for each in package.faults()])
    if log is not None and log.newest is not None:
        verified, lines = log.verified, package.lines(HEAD_PROOFS)
        found = add_proved_heads(lines, verified.roots, verified.times, log.heads, log.newest)
        common.findings += [_of_log(each) for each in found]
    common.findings += _log_findings(log)
    events = _replay_audit(question, package, log, common)
    common.findings += _wrong_summary(package, events)
    return common


def _wrong_summary(package: EvidencePackage, events: Sequence[tuple[str, int]]) -> list[Finding]:
    """Compare the page with one that is rendered from the other files."""
    facts, log = package.facts, package.log()
    try:
        periods = [(period, _read_statements(package, period)) for period in facts.periods]
    except ValueError:
        return []  # statements that cannot be read are a finding of their own
    leaves, checkpoint = log.signed_size(), (log.newest_checkpoint() or b"").decode(errors="replace")
    shown = [] if facts.tenant else events
    page = SummaryPage().render(facts, periods, leaves, checkpoint, shown)
    return [] if package.read(SUMMARY) == page else [_of_package(f"{SUMMARY} does not say what the other files say")]


def _read_statements(package: EvidencePackage, period: str) -> PeriodStatements | None:
    if package.read(f"{STATEMENTS}/{period}/{STATEMENT_MANIFEST}") is None:
        return None
    return JsonStatements().read(package.read(f"{STATEMENTS}/{period}/{JsonStatements.file_name}") or b"")


def _replay_audit(
    question: Question, package: EvidencePackage, log: SignedLog | None, common: _Common
) -> list[tuple[str, int]]:
    """Verify the audit log. Returns the number of events of each month."""
    verifier = ChainVerifier(question.chain_keys, encode_canonical)
    history, counts = hashlib.sha256(), list[tuple[str, int]]()
    for period in package.audit_periods():
        replay = ReplayAudit(period, verifier, log.heads if log else None, DiskSet, history, common.limits)
        common.findings += replay(package.lines(f"{AUDIT}/{period}.jsonl"))
        common.not_checked += replay.not_checked()
        common.manifests += replay.manifests
        counts.append((period, replay.seq))
        common.proved.append(f"The audit log of {period} has {replay.seq} events. None was changed or removed.")
    common.findings += missing_audit_logs(log, package)
    if package.facts.tenant is not None:
        reason = "events of a single tenant are a copy: only the whole audit log can be proved"
        common.not_checked += [NotChecked(invariant=each, reason=reason, is_all=True) for each in ("I18", "I21")]
        return counts
    if package.digest(CONFIGURATION)[1] != history.hexdigest():
        common.findings.append(_of_package(f"{CONFIGURATION} is not what the audit log has of changes"))
    return counts


def missing_audit_logs(log: SignedLog | None, package: EvidencePackage) -> Iterator[Finding]:
    """Yield the months whose audit log was anchored, and is not in a package that covers them."""
    there = {*package.audit_periods()}
    if log is None or package.facts.tenant is not None:
        return
    for chain in log.heads.chains("audit/"):
        period = chain.partition("/")[2]
        if period not in there:
            message = f"the audit log of {period} is missing, and was anchored"
            yield Finding(invariant="I2", tenant_id="", message=message, table="auditlog", partition=period)


async def _verify_periods(
    question: Question,
    package: EvidencePackage,
    log: SignedLog | None,
    limits: AuditedLimits | None,
    report: Progress,
) -> AsyncIterator[tuple[str, ExportResult]]:
    with TemporaryDirectory() as folder:
        books = Path(folder) / "books.gz"
        for period in package.periods():
            package.extract_books(period, books)
            result, stated = await _verify_books(question, books, log, package, report, limits)
            if stated != period:
                message = f"the books of {period} are those of {stated}"
                result.findings.append(_of_package(message))
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
        )
        return await verify(report), period
    finally:
        store.close()


def _statements(books: TableBooks, prices: DocumentPrices, package: EvidencePackage | None) -> VerifyStatements | None:
    if package is None:
        return None
    reports = PackagedReports(package)
    return VerifyStatements(BilledBooks(books), prices, reports, JsonStatements(), JsonManifest(), RENDERERS)


def _log_findings(log: SignedLog | None) -> list[Finding]:
    return [] if log is None else [_of_log(each) for each in log.verified.findings]


def _of_log(found: AnchorFinding) -> Finding:
    where = f"{found.path}: " if found.path else ""
    partition = found.chain.rpartition("/")[2]
    return Finding(
        invariant="I2",
        tenant_id=partition.partition("|")[0],
        message=f"{where}{found.message}",
        table=f"anchors {found.path}" if found.path else "",
        partition=partition,
    )


def _of_package(message: str) -> Finding:
    return Finding(invariant="I20", tenant_id="", message=message)


def _verification(period: str, result: ExportResult, common: _Common) -> Verification:
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
