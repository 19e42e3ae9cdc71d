"""Wire the audit log."""

from __future__ import annotations

from dataclasses import dataclass

from shared.application.audit.chain_events import ChainEvents
from shared.application.audit.manage_audit_periods import ManageAuditPeriods
from shared.application.audit.read_audit_log import ReadAuditLog
from shared.application.audit.record_audit import RecordAudit
from shared.application.audit.record_baseline import RecordBaseline
from shared.application.audit.record_protections import RecordProtections
from shared.application.audit.record_refusals import RecordRefusals
from shared.application.audit.record_sign_ins import RecordSignIns
from shared.application.audit.verify_audit_log import VerifyAuditLog
from shared.application.audit.verify_documents import VerifyDocuments
from shared.application.ports.audit import AuditChain, UnchainedEvents, WaitingEvents
from shared.application.tenancy.principals import ADMIN_KEY_PRINCIPAL
from shared.composition.adapters import Adapters
from shared.composition.weak_settings import weak_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The use cases that keep, show and verify the audit log."""

    chain: AuditChain
    waiting: WaitingEvents
    unchained: UnchainedEvents
    record_protections: RecordProtections
    record_baseline: RecordBaseline
    chain_events: ChainEvents
    verify: VerifyAuditLog
    verify_documents: VerifyDocuments
    read: ReadAuditLog
    periods: ManageAuditPeriods
    note_sign_in: RecordSignIns
    record_refusals: RecordRefusals


def wire_audit(adapters: Adapters) -> Audit:
    """Make the use cases of the audit log."""
    chain, clock, settings = adapters.audit_chain, adapters.clock, adapters.settings
    periods, unchained = adapters.audit_periods, adapters.unchained_events
    return Audit(
        chain=chain,
        waiting=adapters.audit_waiting,
        unchained=unchained,
        record_protections=RecordProtections(adapters.protections, clock, weak_settings(settings)),
        record_baseline=RecordBaseline(
            adapters.audited_documents, adapters.baseline, adapters.cursors, clock, settings.timer_slice_seconds
        ),
        chain_events=ChainEvents(adapters.audit_waiting, chain, clock, settings.timer_slice_seconds),
        verify=VerifyAuditLog(chain, adapters.chain, periods, settings.chain_key_ends),
        verify_documents=VerifyDocuments(
            adapters.audited_documents, adapters.audit_waiting, chain, periods, adapters.baseline
        ),
        read=ReadAuditLog(chain, unchained, clock),
        note_sign_in=RecordSignIns(
            RecordAudit(adapters.audit_outbox, clock), adapters.background, clock, ADMIN_KEY_PRINCIPAL.actor
        ),
        record_refusals=RecordRefusals(adapters.audit_outbox, adapters.background, clock),
        periods=ManageAuditPeriods(
            chain, adapters.unchained_events, periods, adapters.cursors, clock, settings.audit_retention_months
        ),
    )
