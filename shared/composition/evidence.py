"""Wire the export of evidence packages."""

from __future__ import annotations

from shared.adapters.statements.all_renderers import RENDERERS
from shared.adapters.statements.json_manifest import JsonManifest
from shared.adapters.statements.json_statements import JsonStatements
from shared.adapters.statements.summary_page import SummaryPage
from shared.application.evidence.export_anchors import ExportAnchors
from shared.application.evidence.export_audit import ExportAudit
from shared.application.evidence.export_evidence import ExportEvidence
from shared.application.evidence.read_documents import ReadDocuments
from shared.composition.adapters import Adapters
from shared.composition.anchors import Anchors
from shared.composition.ledger import LedgerJobs


def wire_evidence(adapters: Adapters, jobs: LedgerJobs, anchors: Anchors) -> ExportEvidence:
    """Make the export."""
    return ExportEvidence(
        books=jobs.archive,
        tenants=adapters.tenants,
        anchors=ExportAnchors(anchors.store),
        audit=ExportAudit(
            adapters.audit_chain,
            adapters.audit_periods,
            ReadDocuments(adapters.audited_documents, adapters.audit_waiting),
        ),
        reports=adapters.reports,
        stored_format=JsonStatements(),
        renderers=RENDERERS,
        manifest=JsonManifest(),
        summary=SummaryPage(),
    )
