"""Check that retention deleted what the audit logs of a package lack, by the events that tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.application.evidence.replay_audit import CHAINED, TABLE, ReplayAudit
from shared.application.ledger.findings import Finding, NotChecked


@dataclass(slots=True, kw_only=True)
class Deletions:
    """The months of which events were deleted, and what is said of each."""

    findings: list[Finding] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)
    proved: list[str] = field(default_factory=list)
    months: list[str] = field(default_factory=list)
    """The months of which an event may be missing lawfully."""


def explain_deletions(logs: Sequence[ReplayAudit]) -> Deletions:
    """Look for the event of each deletion in all logs.

    An event that was itself deleted tells nothing. Earlier versions did not store it again, so then nobody can say.
    """
    told = {end: (log.period, number) for log in logs for end, number in log.deletions.items()}
    explained = {log.period for log in logs if log.end_of_deleted in told}
    result = Deletions()
    for log in logs:
        if not log.deleted:
            continue
        if log.period in explained:
            month, number = told[log.end_of_deleted]
            result.months.append(log.period)
            result.proved.append(
                f"Retention deleted the first {log.deleted} events of the audit log of {log.period}: "
                f"event {number} of the log of {month} tells their number and the hash of the last."
            )
            result.not_checked.append(
                NotChecked(
                    invariant=CHAINED,
                    reason=f"the first {log.deleted} events of the audit log of {log.period}: retention deleted them",
                )
            )
        elif later := next((each for each in sorted(explained) if each > log.period), ""):
            result.months.append(log.period)
            reason = f"if retention deleted the first {log.deleted} events of the audit log of {log.period}: "
            reason += f"the event that would tell it may be among those of {later}, which are deleted, too"
            result.not_checked.append(NotChecked(invariant=CHAINED, reason=reason, is_open=True))
        else:
            message = f"audit log of {log.period}: the first {log.deleted} events are missing, and no event tells that "
            result.findings.append(
                Finding(
                    invariant=CHAINED,
                    tenant_id="",
                    message=f"{message}retention deleted them",
                    table=TABLE,
                    partition=log.period,
                )
            )
    return result
