"""Wire the use cases of billing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from shared.adapters.statements.all_renderers import RENDERERS
from shared.adapters.statements.json_manifest import JsonManifest
from shared.adapters.statements.json_statements import JsonStatements
from shared.application.audit.record_audit import RecordAudit
from shared.application.billing.build_statement import BuildStatement
from shared.application.billing.export_chargeback import ExportChargeback
from shared.application.billing.manage_periods import ManagePeriods
from shared.application.billing.report_usage import ReportUsage
from shared.application.billing.verify_statements import VerifyStatements
from shared.application.billing.watch_budgets import BudgetRules, WatchBudgets
from shared.application.billing.watch_spending import WatchSpending
from shared.application.ledger.close_period import ClosePeriod
from shared.application.sweep import Sweep
from shared.composition.adapters import Adapters
from shared.composition.alerts import Alerts
from shared.composition.ledger import LedgerJobs
from shared.domain.ledger.amounts import Limit
from shared.domain.pricing.money import pusd_from_usd
from shared.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Billing:
    """The use cases that report usage, close periods, write statements, and verify them."""

    usage: ReportUsage
    export_chargeback: ExportChargeback
    periods: ManagePeriods
    verify_statements: VerifyStatements
    watch_budgets: WatchBudgets
    watch_spending: WatchSpending


def wire_billing(adapters: Adapters, jobs: LedgerJobs, sweep: Sweep, alerts: Alerts) -> Billing:
    """Make the use cases of billing."""
    ledger, clock, tenants, reports = adapters.ledger, adapters.clock, adapters.tenants, adapters.reports
    settings, statements, manifest = adapters.settings, JsonStatements(), JsonManifest()
    close = ClosePeriod(ledger, jobs.expire_reservations, clock, timedelta(hours=settings.close_grace_hours), sweep)
    audit = RecordAudit(adapters.audit_outbox, clock)
    build = BuildStatement(ledger, tenants, adapters.prices, reports, statements, RENDERERS, manifest, audit)
    export = ExportChargeback(ledger, close, build, alerts.raise_once, clock, settings.timer_slice_seconds)
    return Billing(
        usage=ReportUsage(ledger, adapters.rollups, tenants, clock),
        export_chargeback=export,
        periods=ManagePeriods(ledger, close, build, export, adapters.background, audit, clock),
        watch_budgets=WatchBudgets(
            tenants, ledger, alerts.raise_once, adapters.telemetry, clock, sweep, _budget_rules(settings)
        ),
        watch_spending=WatchSpending(
            tenants,
            ledger,
            adapters.rollups,
            alerts.raise_once,
            adapters.telemetry,
            clock,
            sweep,
            pusd_from_usd(settings.alert_anomaly_floor_usd),
            _platform_limit(settings),
        ),
        verify_statements=VerifyStatements(ledger, adapters.price_records, reports, statements, manifest),
    )


def _budget_rules(settings: Settings) -> BudgetRules:
    return BudgetRules(thresholds=settings.default_thresholds, platform=_platform_limit(settings))


def _platform_limit(settings: Settings) -> Limit:
    budget = settings.platform_monthly_budget_usd
    return Limit(settings.platform_monthly_quota_tokens, pusd_from_usd(budget) if budget else None)
