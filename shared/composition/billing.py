"""Wire the use cases of billing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from shared.adapters.statements.all_renderers import RENDERERS
from shared.adapters.statements.json_manifest import JsonManifest
from shared.adapters.statements.json_statements import JsonStatements
from shared.application.billing.build_statement import BuildStatement
from shared.application.billing.export_chargeback import ExportChargeback
from shared.application.billing.report_usage import ReportUsage
from shared.application.billing.verify_statements import VerifyStatements
from shared.application.ledger.close_period import ClosePeriod
from shared.application.sweep import Sweep
from shared.composition.adapters import Adapters
from shared.composition.ledger import LedgerJobs


@dataclass(frozen=True, slots=True)
class Billing:
    """The use cases that report usage, close periods, write statements, and verify them."""

    usage: ReportUsage
    export_chargeback: ExportChargeback
    verify_statements: VerifyStatements


def wire_billing(adapters: Adapters, jobs: LedgerJobs, sweep: Sweep) -> Billing:
    """Make the use cases of billing."""
    ledger, clock, tenants, reports = adapters.ledger, adapters.clock, adapters.tenants, adapters.reports
    manifest = JsonManifest()
    grace = timedelta(hours=adapters.settings.close_grace_hours)
    return Billing(
        usage=ReportUsage(ledger, adapters.rollups, tenants),
        export_chargeback=ExportChargeback(
            ClosePeriod(ledger, jobs.expire_reservations, clock, grace, sweep),
            BuildStatement(ledger, tenants, adapters.prices, reports, RENDERERS, manifest),
            clock,
        ),
        verify_statements=VerifyStatements(ledger, reports, JsonStatements(), manifest),
    )
