"""`tallygate verify` checks the audit log, and the documents against it."""

from __future__ import annotations

import json
from typing import Any

from shared import timers
from shared.application.ledger.findings import Finding
from shared.cli.audit import check_audit
from shared.domain.audit.hash_chain import KeyRing
from shared.domain.identifiers import BillingPeriod
from tests.functions.audit.test_audit_log import documents_of
from tests.tools.stack import Stack


def places(found: list[Finding]) -> set[tuple[str, str, str]]:
    return {(each.invariant, each.table, each.row) for each in found}


async def test_an_edited_log_and_edited_documents_are_found_and_what_is_unproven_is_told(stack: Stack) -> None:
    gateway = await stack.gateway()
    period = str(BillingPeriod.containing(gateway.clock.now()))
    assert await check_audit(gateway, period, None) == ([], [])
    await timers.chain_audit(past_due=False)
    assert await check_audit(gateway, period, None) == ([], [])
    documents = await documents_of(stack)
    tenant = await documents.get("tenants", stack.tenant, "tenant")
    backend = await documents.get("backends", "backend", "se-gpt-4o")
    assert tenant is not None
    assert backend is not None
    edited = {**json.loads(tenant.text), "monthly_quota_tokens": 10**9}
    await documents.replace("tenants", stack.tenant, "tenant", json.dumps(edited), "*")
    await documents.replace("backends", "backend", "se-gpt-4o", backend.text.replace("eu", "us"), "*")
    await documents.insert("tenants", "old", "tenant", json.dumps({**edited, "tenant_id": "old"}))
    chain: Any = gateway.audit.chain
    row = chain._store._tables["auditlog"][period]["E|0000000000000001"]
    row.fields["mac"] = "0" * 64
    found, not_checked = await check_audit(gateway, period, None)
    of_documents = {("I19", "tenants", "tenant"), ("I19", "backends", "se-gpt-4o")}
    assert places(found) == {("I18", "auditlog", "E|0000000000000001"), *of_documents}
    assert [each.reason.partition(":")[0] for each in not_checked] == ["1 documents have no event"]
    of_tenant, _ = await check_audit(gateway, period, stack.tenant)
    assert {each.tenant_id for each in of_tenant if each.invariant == "I19"} == {stack.tenant}
    chain._chain.use(KeyRing(keys={"1": b"another key, of which nothing is known"}, newest="1"))
    _, not_checked = await check_audit(gateway, period, None)
    assert "the mac of entries of key version 0, which is not known" in [each.reason for each in not_checked]
