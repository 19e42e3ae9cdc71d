"""Wire the use cases that tell the state of the gateway itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from shared.adapters.azure_openai.probe import OpenAIProbe
from shared.adapters.documents.health import DocumentStates
from shared.adapters.schedules import CronSchedules
from shared.adapters.tables.rest_store import STORAGE_SCOPE
from shared.application.health.check_readiness import CheckReadiness
from shared.application.health.find_problems import FindProblems
from shared.application.health.parts import (
    BackendsCheck,
    configuration_check,
    identity_check,
    ledger_check,
    timers_check,
    vault_check,
)
from shared.application.health.publish_gauges import PublishGauges
from shared.application.health.report_health import ReportHealth
from shared.application.health.run_timer import RunTimer
from shared.application.health.show_status import ShowStatus
from shared.application.health.tell_failed_chains import TellFailedChains
from shared.application.health.tell_instance import TellInstance
from shared.application.health.verify_books import VerifyBooks
from shared.application.health.watch_timers import WatchTimers
from shared.application.sweep import Sweep
from shared.composition.adapters import Adapters
from shared.composition.alerts import Alerts
from shared.composition.audit import Audit
from shared.composition.billing import Billing
from shared.composition.ledger import LedgerJobs, new_verification, new_verification_in_turn
from shared.composition.pricing import Pricing
from shared.domain.health.instance import Instance
from shared.domain.health.timer_run import TimerRun
from shared.domain.health.verification import Verification
from shared.version import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The use cases that check the gateway's own parts, that run and watch its timers, and that verify its books."""

    readiness: CheckReadiness
    run_timer: TellFailedChains
    tell_instance: TellInstance
    report: ReportHealth
    verify_books: VerifyBooks
    status: ShowStatus


def wire_health(
    adapters: Adapters, ledger: LedgerJobs, audit: Audit, billing: Billing, pricing: Pricing, alerts: Alerts
) -> Health:
    """Make the use cases of the gateway's own state."""
    clock, name = adapters.clock, adapters.settings.website_instance_id
    runs = DocumentStates(adapters.documents, "timers", TimerRun)
    instances = DocumentStates(adapters.documents, "instances", Instance)
    verifications = DocumentStates(adapters.documents, "verifications", Verification)
    watch = WatchTimers(runs, CronSchedules(), clock)
    tell_instance = TellInstance(instances, clock, name, VERSION)
    readiness = _readiness(adapters, watch)
    problems = FindProblems(adapters.catalog, adapters.hints, pricing.book, clock)
    gauges = PublishGauges(adapters.telemetry, problems, verifications, ledger.books, clock)
    return Health(
        readiness=readiness,
        run_timer=TellFailedChains(RunTimer(runs, clock, name, adapters.telemetry), runs, alerts.store, clock),
        tell_instance=tell_instance,
        report=ReportHealth(watch, gauges, tell_instance, alerts.store, clock),
        verify_books=VerifyBooks(
            ledger.books,
            billing.verify_statements.is_exported,
            partial(new_verification, adapters),
            new_verification_in_turn(adapters),
            ledger.verify_promises,
            audit.chain,
            audit.verify,
            verifications,
            clock,
            Sweep(adapters.cursors, clock, adapters.settings.timer_slice_seconds, at_once=1),
            alerts.store,
            adapters.settings.timer_slice_seconds / 2,
        ),
        status=ShowStatus(readiness, tell_instance, instances, watch, verifications, problems, billing.periods, clock),
    )


def _readiness(adapters: Adapters, watch: WatchTimers) -> CheckReadiness:
    settings, clock = adapters.settings, adapters.clock
    needs_identity = settings.tallygate_storage == "tables" and not settings.tallygate_storage_account_key
    token = partial(adapters.tokens.token, STORAGE_SCOPE) if needs_identity else None
    names = adapters.secret_names.of_vault(settings)
    probe = OpenAIProbe(adapters.tokens, adapters.backend_keys)
    return CheckReadiness(
        {
            "configuration": configuration_check(adapters.catalog),
            "ledger": ledger_check(adapters.ledger, clock),
            "identity": identity_check(token),
            "vault": vault_check(adapters.secrets, names),
            "backends": BackendsCheck(adapters.catalog, probe),
            "timers": timers_check(watch),
        },
        clock,
    )
