"""The part of `tallygate verify` that checks the audit log."""

from __future__ import annotations

from shared.application.ledger.findings import Finding, NotChecked, finding_at
from shared.application.ports.books import Place
from shared.composition.gateway import Gateway


async def check_audit(gateway: Gateway, period: str, tenant: str | None) -> tuple[list[Finding], list[NotChecked]]:
    """Check the invariants I18 for the month, and I19 for all documents, or those of one tenant."""
    log, documents = await gateway.audit.verify(period), await gateway.audit.verify_documents()
    found = [
        finding_at(Place(table="auditlog", partition=period, row=each.row), "I18", each.message, "")
        for each in log.findings
    ]
    for each in documents.findings:
        table, partition, row = each.place
        owner = partition if table in ("tenants", "credentials") else ""
        if tenant in (None, owner):
            found.append(finding_at(Place(table=table, partition=partition, row=row), "I19", each.message, owner))
    not_checked = [
        NotChecked(invariant="I18", reason=f"the mac of entries of key version {version}, which is not known")
        for version in log.unknown_keys
    ]
    if documents.unproven:
        reason = f"{documents.unproven} documents have no event: the baseline is not complete, or retention deleted it"
        not_checked.append(NotChecked(invariant="I19", reason=reason))
    return found, not_checked
