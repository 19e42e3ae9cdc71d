"""Wire the audit log."""

from __future__ import annotations

from dataclasses import dataclass

from shared.application.audit.chain_events import ChainEvents
from shared.application.audit.verify_audit_log import VerifyAuditLog
from shared.composition.adapters import Adapters


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The use cases that keep, show and verify the audit log."""

    chain_events: ChainEvents
    verify: VerifyAuditLog


def wire_audit(adapters: Adapters) -> Audit:
    """Make the use cases of the audit log."""
    chain, clock = adapters.audit_chain, adapters.clock
    return Audit(
        chain_events=ChainEvents(adapters.audit_waiting, chain, clock, adapters.settings.timer_slice_seconds),
        verify=VerifyAuditLog(chain, adapters.chain),
    )
