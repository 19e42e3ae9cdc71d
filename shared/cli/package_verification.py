"""Verify the parts of an evidence package that are about all periods: its log, audit log, documents and page."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.adapters.canonical_json import encode_canonical
from shared.adapters.documents.pricing import InspectedPrices
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.on_disk.evidence_package import EvidencePackage
from shared.adapters.on_disk.table_store import DiskSet
from shared.adapters.statements.json_manifest import MANIFEST as STATEMENT_MANIFEST
from shared.adapters.statements.json_statements import JsonStatements
from shared.adapters.statements.summary_page import SummaryPage
from shared.adapters.tables.archive_file import read_prices
from shared.adapters.tables.archived_prices import archived_prices, prices_from
from shared.application.audit.verify_anchors import AnchorFinding
from shared.application.evidence.explain_deletions import explain_deletions
from shared.application.evidence.head_proofs import add_proved_heads
from shared.application.evidence.replay_audit import ReplayAudit
from shared.application.evidence.replay_documents import ReplayDocuments
from shared.application.evidence.verify_export import ExportResult, SignedLog
from shared.application.ledger.audited_limits import AuditedLimits
from shared.application.ledger.findings import Finding, NotChecked, findings_of
from shared.cli.package_files import strange_files
from shared.domain.audit.hash_chain import ChainVerifier, canonical
from shared.domain.audit.package_paths import AUDIT, CONFIGURATION, DOCUMENTS, HEAD_PROOFS, STATEMENTS, SUMMARY
from shared.domain.billing.statements import PeriodStatements


@dataclass(slots=True, kw_only=True)
class PackageVerified:
    """Everything that was found about the log of heads, the package and the audit log: it is about all periods."""

    findings: list[Finding] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)
    proved: list[str] = field(default_factory=list)
    manifests: list[tuple[str, str]] = field(default_factory=list)
    """The periods whose statements were written, and the SHA-256 of their manifests, as the audit log states them."""
    limits: AuditedLimits = field(default_factory=AuditedLimits)
    prices: Sequence[Mapping[str, Any]] | None = None
    """The rows of the price documents; `None` if the package has no documents."""

    def compare_prices(self, period: str, books: Path, result: ExportResult) -> None:
        """Compare the prices in the books of a period with the documents. Raises `ArchiveDamaged`."""
        if self.prices is None:
            return
        stated = Counter(canonical(dict(row)).decode() for row in self.prices)
        rows = archived_prices(prices_from(read_prices(books)))  # an earlier version wrote fewer properties
        found = Counter(canonical(row).decode() for row in rows)
        for row, told in [(row, "has a price that no document has") for row in found - stated] + [
            (row, "lacks a price that a document has") for row in stated - found
        ]:
            message = f"the archive of {period} {told}: {row}"
            result.findings.append(Finding(invariant="I10", tenant_id="", message=message, table="prices"))

    def compare_manifest(self, package: EvidencePackage, period: str, result: ExportResult) -> None:
        """Compare the manifest of a period's statements with that of the audit log."""
        content = package.read(f"{STATEMENTS}/{period}/{STATEMENT_MANIFEST}")
        stated = [digest for of, digest in self.manifests if of == period]
        if content is None:
            if stated:
                message = f"the statements of {period} are missing, and the audit log says that they were written"
                result.findings.append(Finding(invariant="I12", tenant_id="", message=message))
                result.proved.clear()
        elif package.facts.tenant is not None:
            return
        elif not stated:
            reason = "names and tags in statements: the audit log does not say which manifest was written"
            result.not_checked.append(NotChecked(invariant="I12", reason=reason))
        elif hashlib.sha256(content).hexdigest() not in stated:
            message = f"the manifest of {period} is not the one that the audit log names"
            result.findings.append(Finding(invariant="I12", tenant_id="", message=message))
            result.proved.clear()


async def verify_package(
    chain_keys: Mapping[str, bytes], key_ends: Mapping[str, str], package: EvidencePackage, log: SignedLog | None
) -> PackageVerified:
    common = PackageVerified(findings=[of_package(each) for each in package.faults()])
    common.findings += [of_package(f"{name} does not belong into the package") for name in strange_files(package)]
    if log is not None and log.verified.signed_leaves and log.verified.origin != package.facts.origin:
        common.findings.append(of_package("the manifest names another log than the checkpoints"))
    if log is not None and log.newest is not None:
        verified, lines = log.verified, package.lines(HEAD_PROOFS)
        found = add_proved_heads(lines, verified.roots, verified.times, log.heads, log.newest)
        common.findings += [_of_log(each) for each in found]
    common.findings += log_findings(log)
    events = await _replay_audit(chain_keys, key_ends, package, log, common)
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
    return [] if package.read(SUMMARY) == page else [of_package(f"{SUMMARY} does not say what the other files say")]


def _read_statements(package: EvidencePackage, period: str) -> PeriodStatements | None:
    if package.read(f"{STATEMENTS}/{period}/{STATEMENT_MANIFEST}") is None:
        return None
    return JsonStatements().read(package.read(f"{STATEMENTS}/{period}/{JsonStatements.file_name}") or b"")


async def _replay_audit(
    chain_keys: Mapping[str, bytes],
    key_ends: Mapping[str, str],
    package: EvidencePackage,
    log: SignedLog | None,
    common: PackageVerified,
) -> list[tuple[str, int]]:
    """Verify the audit log, and the documents by it. Returns the number of events of each month."""
    verifier, history = ChainVerifier(chain_keys, encode_canonical), hashlib.sha256()
    documents = ReplayDocuments(log.verified.last_at if log else "")
    replays: list[ReplayAudit] = []

    def tell(event: str) -> None:
        documents.tell(event)
        common.limits.add(event)

    for period in package.audit_periods():
        replay = ReplayAudit(period, verifier, log.heads if log else None, DiskSet, history, tell, key_ends)
        replays.append(replay)
        common.findings += replay(package.lines(f"{AUDIT}/{period}.jsonl"))
        common.not_checked += replay.not_checked()
        common.manifests += replay.manifests
        if replay.anchored:
            told = f"{replay.anchored} events of the audit log of {period} are as they were when its head was anchored"
            common.proved.append(f"{told}: none of them was changed or removed.")
    common.findings += missing_audit_logs(log, package)
    if package.facts.tenant is not None:
        reason = "events of a single tenant are a copy: only the whole audit log can be proved"
        common.not_checked += [NotChecked(invariant=each, reason=reason, is_all=True) for each in ("I18", "I21")]
        return []
    deletions = explain_deletions(replays)
    common.findings += deletions.findings
    common.not_checked += deletions.not_checked
    common.proved += deletions.proved
    common.limits.deleted_months.update(deletions.months)
    if package.digest(CONFIGURATION)[1] != history.hexdigest():
        common.findings.append(of_package(f"{CONFIGURATION} is not what the audit log has of changes"))
    await _compare_documents(package, documents, deletions.months, common)
    return [(replay.period, replay.seq) for replay in replays]


async def _compare_documents(
    package: EvidencePackage, documents: ReplayDocuments, deleted: Sequence[str], common: PackageVerified
) -> None:
    if package.digest(DOCUMENTS)[1] == "":
        common.findings.append(of_package(f"{DOCUMENTS} is missing"))
    common.findings += documents(package.lines(DOCUMENTS), deleted)
    common.not_checked += documents.not_checked()
    copied = InMemoryDocuments()
    for document in documents.prices:
        await copied.insert(*document.place, document.text)
    prices = InspectedPrices(copied)
    common.findings += findings_of(await prices.faults(), "I10", "")
    common.prices = archived_prices((await prices.load()).readable)


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


def log_findings(log: SignedLog | None) -> list[Finding]:
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


def of_package(message: str) -> Finding:
    return Finding(invariant="I20", tenant_id="", message=message)
