"""Verify the books of one period with nothing but files: the work of `tallygate verify --archive`."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from shared.application.billing.verify_statements import VerifyStatements
from shared.application.evidence.anchored_lanes import AnchoredLanes
from shared.application.evidence.anchored_log import LogVerified
from shared.application.ledger.audited_limits import AuditedLimits
from shared.application.ledger.chain_report import ChainReport, reason_of
from shared.application.ledger.findings import Finding, NotChecked, finding_at
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.application.ports.anchors import DatedHeads
from shared.application.ports.books import Books, Place
from shared.domain.audit.anchor_files import group_of
from shared.domain.audit.hash_chain import HMAC
from shared.domain.errors import LedgerUnavailable
from shared.domain.values import record

Progress = Callable[[int, int], None]
_LOG: Final = "I2"
_STRANGER: Final = "the lane is of another tenant than the one of the package"
UNCHECKED_IN_FILES: Final = (
    NotChecked(invariant="I13", reason="an archive is not compared with what clients received", is_all=True),
    NotChecked(invariant="I14", reason="an archive does not tell when it was written", is_all=True),
    NotChecked(invariant="I9", reason="an archive does not tell if its period was over"),
    NotChecked(invariant="I15", reason="an archive does not tell 32-bit from 64-bit numbers"),
    NotChecked(invariant="I16", reason="an archive has no documents of tenants"),
    NotChecked(invariant="I17", reason="an archive has no documents of tenants", is_all=True),
)
WITHOUT_DOCUMENTS: Final = (
    NotChecked(invariant="I10", reason="prices that no entry names: only a package of all tenants proves them"),
    NotChecked(invariant="I19", reason="only a package of all tenants has documents", is_all=True),
)
OUTSIDE_OF_A_PACKAGE: Final = (
    NotChecked(invariant="I12", reason="an archive has no statements", is_all=True),
    NotChecked(invariant="I18", reason="an archive has no audit log", is_all=True),
    NotChecked(invariant="I20", reason="an archive is no evidence package", is_all=True),
    NotChecked(invariant="I21", reason="an archive has no audit log", is_all=True),
)
BEYOND_PROOF: Final = (
    NotChecked(invariant=_LOG, reason="that an entry was true when it was made: compare with the bills of Azure"),
    NotChecked(
        invariant=_LOG,
        reason="that its owner keeps no second log with the same key: compare a checkpoint with that of a witness",
    ),
)


@record
class SignedLog:
    """A log of heads that was read, and its heads."""

    verified: LogVerified
    heads: DatedHeads
    newest: set[str] | None = None
    """The chains whose head in the newest leaf is proved; `None` if the log has the heads of all chains."""


@record
class ExportFiles:
    """The rows of one period, and the names of the tables and partitions in which they are."""

    period: str
    books: Books
    tables: Set[str]
    registries: Set[str]
    """The partitions of the registry."""
    strangers: Set[str] = frozenset()
    """Lanes of other tenants than the one whose rows the file has."""


@dataclass(slots=True, kw_only=True)
class ExportResult:
    """Everything that the verification of a period says."""

    tenants: int = 0
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)
    chained: ChainReport = field(default_factory=ChainReport)
    notes: list[str] = field(default_factory=list)
    """Facts about the log that are no violation by themselves."""
    proved: list[str] = field(default_factory=list)


class VerifyExport:
    """Checks one period's rows, the heads that a log has of them, and the statements, if there are any."""

    def __init__(
        self,
        files: ExportFiles,
        verify_ledger: VerifyLedger,
        log: SignedLog | None,
        statements: VerifyStatements | None,
        limits: AuditedLimits | None = None,
        *,
        only: str | None = None,
        needs_sha256: bool = False,
        has_documents: bool = False,
    ) -> None:
        """Take what is to be checked.

        - `limits` are those of the audit log, if there is one. `only` names the one tenant to check.
        - `needs_sha256` makes every entry with an HMAC a violation.
        - `has_documents` tells that documents are verified elsewhere.
        """
        self._files = files
        self._verify_ledger = verify_ledger
        self._log = log
        self._statements = statements
        self._limits = limits
        self._only = only
        self._needs_sha256 = needs_sha256
        self._has_documents = has_documents
        self._result = ExportResult()

    async def __call__(self, report: Progress) -> ExportResult:
        """Verify. Reports progress in tenants."""
        result, period = self._result, self._files.period
        result.not_checked += UNCHECKED_IN_FILES if self._has_documents else UNCHECKED_IN_FILES + WITHOUT_DOCUMENTS
        result.findings += self._strange_tables()
        lanes, wrong = await self._compare_with_anchors(period)
        await self._check_ledger(period, report, lanes)
        result.findings += wrong
        if lanes:
            self._report_anchors(lanes)
        await self._check_statements(period)
        self._check_limits(period)
        self._report_chain()
        if not result.findings:
            result.proved += _proved(period, result.chained, self._log)
        return result

    def _strange_tables(self) -> list[Finding]:
        digits = self._files.period.replace("-", "")
        known = {"registry", f"ledger{digits}", f"rollup{digits}"}
        found = [
            finding_at(Place(table=table, partition=""), "I15", "an archive has no such table", "")
            for table in sorted(self._files.tables - known)
        ]
        return (
            found
            + [
                finding_at(Place(table="registry", partition=name), "I16", "the registry is of another period", "")
                for name in sorted(self._files.registries - {self._files.period})
            ]
            + [
                finding_at(Place(table="registry", partition=self._files.period, row=name), "I16", _STRANGER, "")
                for name in sorted(self._files.strangers)
            ]
        )

    async def _check_ledger(self, period: str, report: Progress, anchored: AnchoredLanes | None) -> None:
        result, verify = self._result, self._verify_ledger
        total = await verify.count_tenants(period, self._only)
        async for name, found in verify(period, self._only, anchored):
            result.tenants += bool(name)
            result.findings += found
            report(result.tenants, total)
        result.chained = verify.chained
        result.not_checked += verify.not_checked()

    async def _compare_with_anchors(self, period: str) -> tuple[AnchoredLanes | None, list[Finding]]:
        """Compare the lanes with the log of heads, if there is one. Returns also what is wrong."""
        if self._log is None:
            reason = "a complete rollback: if all rows are as they were earlier, only checkpoints show it"
            self._result.not_checked.append(NotChecked(invariant=_LOG, reason=reason))
            return None, []
        verified, newest = self._log.verified, self._log.newest
        lanes = AnchoredLanes(
            self._files.books, self._log.heads, final=verified.final, last_at=verified.last_at, newest=newest
        )
        return lanes, [finding async for finding in lanes(period, self._only)]

    def _report_anchors(self, lanes: AnchoredLanes) -> None:
        """Say which entries no leaf has, and what no log of heads can prove."""
        result, log = self._result, self._log
        for chain, count in lanes.after.items():
            told = f"the last {count} entries" if count > 1 else "the last entry"
            reason = f"{told} of {chain.rpartition('/')[2]}: no leaf has them yet"
            result.not_checked.append(NotChecked(invariant=_LOG, reason=reason, is_open=True))
        if lanes.empty_lanes:
            reason = f"{len(lanes.empty_lanes)} lanes without entries: no leaf has them"
            result.not_checked.append(NotChecked(invariant=_LOG, reason=reason))
        result.not_checked += BEYOND_PROOF
        assert log is not None  # the lanes were compared with it
        result.notes += log.verified.notes
        if log.newest is not None:
            reason = f"lanes of {self._only} that the package leaves out: only a package of all tenants shows them"
            result.not_checked.append(NotChecked(invariant=_LOG, reason=reason))

    async def _check_statements(self, period: str) -> None:
        result = self._result
        if self._statements is None:
            result.not_checked += OUTSIDE_OF_A_PACKAGE
            return
        try:
            if await self._statements.is_exported(period):
                result.findings += await self._statements(period)
                return
            reason = "the period has no manifest"
        except LedgerUnavailable as error:  # rows that cannot be read are findings of their own
            reason = str(error)
        result.not_checked.append(NotChecked(invariant="I12", reason=reason, is_all=True))

    def _check_limits(self, period: str) -> None:
        if self._limits is not None:
            compared = self._limits.compare(self._verify_ledger.booked_limits, period, self._only)
            self._result.findings += compared.findings
            self._result.not_checked += compared.not_checked()
            self._result.notes += compared.notes

    def _report_chain(self) -> None:
        """Say of which entries nobody could check the chain, or the mac."""
        result = self._result
        for row in result.chained.rows():
            if row.method == HMAC and self._needs_sha256:
                message = f"{row.entries} entries are chained by an HMAC, the last of them of {row.last}"
                place = Place(table=f"ledger{self._files.period.replace('-', '')}", partition="")
                result.findings.append(finding_at(place, "I2", message, ""))
            elif not row.is_key_known:
                result.not_checked.append(NotChecked(invariant="I2", reason=reason_of(row), is_open=row.is_open))


def _proved(period: str, chained: ChainReport, log: SignedLog | None) -> Sequence[str]:
    verified = log.verified if log else None
    if verified is None or not verified.signed_leaves:
        return ()
    entries = chained.anchored
    told = [
        f"The log {verified.origin} has {verified.signed_leaves} leaves, {verified.first_at} to {verified.last_at}.",
        "Each checkpoint is signed by a key that you gave, and contains all earlier leaves.",
        f"{entries} entries are as they were when their heads were anchored: none was changed or removed.",
    ]
    if verified.has_heads:
        told.append("No lane that was anchored is missing.")
    if group_of(f"ledger/{period}/") in verified.final:
        told.append(f"All lanes of {period} were closed and anchored. Nothing was added afterwards.")
    return [*told, "Balances, costs and rollups are those of the entries, as far as the invariants above hold."]
