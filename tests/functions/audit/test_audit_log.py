"""The audit log over the management API: what it tells, who may read it, and how it is verified and exported."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from datetime import timedelta
from typing import Any

import pytest

from shared import timers
from shared.adapters.documents.store import Documents
from shared.application.audit import read_audit_log
from shared.domain.audit.hash_chain import canonical, genesis
from shared.domain.errors import LedgerUnavailable
from shared.domain.identifiers import BillingPeriod, rid_at
from tests.tools.audit_logs import event_at
from tests.tools.stack import ADMIN_KEY, Stack


async def documents_of(stack: Stack) -> Documents:
    tenants: Any = (await stack.gateway()).tenancy.tenants
    documents: Documents = tenants._tenants._documents
    return documents


async def logged(stack: Stack, query: str = "") -> list[dict[str, Any]]:
    """Chain what waits, and return the events that a query finds, newest first."""
    await timers.chain_audit(past_due=False)
    found: list[dict[str, Any]] = (await stack.manage("GET", f"/manage/audit?limit=500{query}"))["data"]
    return found


async def export(stack: Stack, query: str) -> bytes:
    url = f"{stack.url}/manage/audit/export?{query}"
    async with stack.session.get(url, headers={"api-key": ADMIN_KEY}) as response:
        assert response.status == 200
        return await response.read()


async def current(stack: Stack) -> str:
    return str(BillingPeriod.containing((await stack.gateway()).clock.now()))


async def test_a_change_tells_who_made_it_why_and_what_it_changed(stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}"
    await stack.manage("PATCH", path, {"name": "New", "content_filter_policy": "block", "reason": "audit finding 7"})
    await stack.manage("PATCH", path, {"content_filter_policy": "pass"})
    await stack.manage("POST", f"{path}/suspend?reason=unpaid%20bill")
    suspended, weakened, changed, *_ = await logged(stack, f"&object={stack.tenant}&action=tenant")
    assert (changed["before"]["name"], changed["after"]["name"]) == ("Acme", "New")
    assert (changed["actor"], changed["role"], changed["reason"]) == ("admin-key", "Gateway.Admin", "audit finding 7")
    assert len(changed["request_id"]) == 32
    assert (weakened["reason"], weakened["weakens"]) == ("", ["content_filter_policy"])
    assert (suspended["action"], suspended["reason"]) == ("tenant.suspend", "unpaid bill")
    assert suspended["seq"] > weakened["seq"] > changed["seq"]


async def test_each_kind_of_change_has_one_event_and_a_repetition_none(stack: Stack) -> None:
    await logged(stack)
    last = (await stack.manage("GET", "/manage/audit?limit=1"))["data"][0]["seq"]
    path = f"/manage/tenants/{stack.tenant}"
    backend = {
        "endpoint": f"{stack.simulator_url}/eastus",
        "upstream_deployment": "m",
        "model": "m",
        "region": "eastus",
    }
    price = {"model": "m", "meter": "input", "usd_per_million": "1", "effective_from": "2026-01-01T00:00:00Z"}
    grant = {"tokens": 5, "reason": "launch", "grant_id": "g1"}
    await stack.manage("PATCH", path, {"monthly_quota_tokens": 10_000})
    (key,) = (await stack.manage("GET", f"{path}/keys"))["data"]
    for _ in range(2):
        await stack.manage("PUT", "/manage/backends/b", backend)
        await stack.manage("PUT", "/manage/deployments/d", {"backends": ["b"]})
        await stack.manage("POST", "/manage/prices", price)
        await stack.manage("POST", f"{path}/grants", grant)
        await stack.manage("PATCH", path, {"name": "Same"})
        await stack.manage("POST", f"{path}/suspend")
        await stack.manage("DELETE", f"{path}/keys/{key['key_id']}")
    await stack.manage("PUT", "/manage/deployments/d", {"backends": ["se-gpt-4o"]})
    await stack.manage("DELETE", "/manage/backends/b")
    actions = sorted(each["action"] for each in await logged(stack) if each["seq"] > last)
    assert actions == sorted(
        ["tenant.change", "tenant.change", "tenant.suspend", "tenant.grant", "backend.put", "backend.remove",
         "deployment.put", "deployment.put", "price.insert", "key.revoke"]
    )  # fmt: skip


async def test_a_grant_that_the_ledger_refuses_has_no_event(stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}"
    refused = await stack.manage("POST", f"{path}/grants", {"tokens": 5, "reason": "no limit"}, status=400)
    assert refused["error"]["code"] == "invalid_request"
    await stack.manage("PATCH", path, {"monthly_quota_tokens": 100})
    await stack.manage("POST", f"{path}/grants", {"tokens": 5, "reason": "x", "grant_id": "g"})
    await stack.manage("POST", f"{path}/grants", {"tokens": 6, "reason": "x", "grant_id": "g"}, status=409)
    (granted,) = await logged(stack, f"&object={stack.tenant}&action=tenant.grant")
    assert (granted["after"]["grant_id"], granted["after"]["tokens"], granted["reason"]) == ("g", 5, "x")


async def test_a_reason_is_bounded_and_printable_and_only_changes_take_one(stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}/suspend"
    for reason in ("x" * 257, "a%0Ab", "%20x"):
        refused = await stack.manage("POST", f"{path}?reason={reason}", status=400)
        assert refused["error"]["param"] == "reason"
    await stack.manage("GET", f"/manage/tenants/{stack.tenant}?reason=x", status=400)
    await stack.manage("POST", f"{path}?reason=%3Cscript%3E%22", status=200)
    assert (await logged(stack, "&action=tenant"))[0]["reason"] == '<script>"'


async def test_events_are_found_by_actor_object_action_and_time(stack: Stack) -> None:
    everything = await logged(stack)
    assert [each["seq"] for each in everything] == [*range(len(everything), 0, -1)]
    assert await logged(stack, "&actor=nobody") == []
    assert len(await logged(stack, "&actor=admin-key")) == len(everything) - 1
    assert [each["action"] for each in await logged(stack, "&actor=settings")] == ["settings.protections"]
    of_tenant = await logged(stack, f"&object={stack.tenant}")
    assert {each["action"] for each in of_tenant} == {"key.create", "tenant.register"}
    assert [each["action"] for each in await logged(stack, f"&object={stack.tenant}&action=key")] == ["key.create"]
    assert await logged(stack, f"&object={stack.tenant[:-1]}") == []
    middle = everything[len(everything) // 2]["at"]
    earlier, later = await logged(stack, f"&to={middle}"), await logged(stack, f"&from={middle}")
    assert [*later, *earlier] == everything
    assert await logged(stack, "&to=2020-01-01") == await logged(stack, "&from=2999-01-01") == []
    for query in ("from=yesterday", "cursor=x", "cursor=2026-13:1", "limit=0", "other=1"):
        await stack.manage("GET", f"/manage/audit?{query}", status=400)


async def test_pages_hold_each_event_once_also_where_few_are_wanted(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_audit_log, "_MOST_READ", 7)
    monkeypatch.setattr(read_audit_log, "_READ_AT_ONCE", 3)
    await stored_by_an_earlier_version(stack, 3)
    await timers.chain_audit(past_due=False)
    for query in ("limit=2", "limit=500", f"limit=5&object={stack.tenant}"):
        pages, cursor = list[list[dict[str, Any]]](), ""
        while True:
            page = await stack.manage("GET", f"/manage/audit?{query}{cursor}")
            pages.append(page["data"])
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        found = [each["event_id"] for page in pages for each in page]
        assert len(found) == len({*found})
        assert len(pages) > 3
        assert len(found) == (2 if "object" in query else len(found))


async def stored_by_an_earlier_version(stack: Stack, count: int) -> list[str]:
    """Store events as earlier versions did, in this month. Returns their ids, in order."""
    documents, now = await documents_of(stack), (await stack.gateway()).clock.now()
    ids = []
    for number in range(count):
        at = now - timedelta(milliseconds=count - number)
        ids.append(rid_at(at))
        event = {
            "event_id": ids[-1], "at": at.isoformat().replace("+00:00", "Z"), "actor": "admin-key", "action": "old.act",
            "target": "old", "before": None, "after": {"name": "=1+1"}, "source_address": "",
        }  # fmt: skip
        await documents.insert("audit", f"{at:%Y%m}", ids[-1], json.dumps(event))
    return ids


async def test_events_of_earlier_versions_are_shown_and_said_to_be_unchained(stack: Stack) -> None:
    ids = await stored_by_an_earlier_version(stack, 2)
    *_, second, first = everything = await logged(stack)
    assert [first["event_id"], second["event_id"]] == ids
    assert (first["seq"], first["note"]) == (None, "recorded before the log was chained")
    assert [each["event_id"] for each in await logged(stack, "&object=old")] == ids[::-1]
    page = await stack.manage("GET", f"/manage/audit?limit={len(everything) - 1}")
    rest = await stack.manage("GET", f"/manage/audit?cursor={page['next_cursor']}")
    assert [each["event_id"] for each in rest["data"]] == [ids[0]]
    verified = await stack.manage("GET", "/manage/audit/verify")
    assert (verified["holds"], verified["unchained_events"], verified["waiting_events"]) == (True, 2, 0)


async def test_the_log_of_a_month_verifies_and_an_edited_entry_is_named(stack: Stack) -> None:
    period = await current(stack)
    assert (await stack.manage("GET", "/manage/audit/verify"))["waiting_events"] > 0
    events = await logged(stack)
    verified = await stack.manage("GET", f"/manage/audit/verify?period={period}")
    assert verified["holds"] is True
    assert (verified["first"], verified["events"], verified["unknown_key_versions"]) == (1, len(events), [])
    chain: Any = (await stack.gateway()).audit.chain
    row = chain._store._tables["auditlog"][period]["E|0000000000000003"]
    row.fields["event"] = row.fields["event"].replace("admin-key", "somebody")
    verified = await stack.manage("GET", f"/manage/audit/verify?period={period}")
    assert verified["holds"] is False
    assert verified["findings"] == [{"row": "E|0000000000000003", "message": "does not continue the chain"}]
    row.fields["event"] = "not JSON"
    assert (await logged(stack))[-3] == {
        "seq": 3, "hash": row.fields["hash"], "note": "the entry cannot be read"
    }  # fmt: skip
    assert (await stack.manage("GET", "/manage/audit/verify?period=2020-01"))["events"] == 0
    await stack.manage("GET", "/manage/audit/verify?period=x", status=400)


async def test_the_chain_recomputes_from_the_exported_lines(stack: Stack) -> None:
    await stored_by_an_earlier_version(stack, 1)
    await timers.chain_audit(past_due=False)
    first, old, *lines, last = map(json.loads, (await export(stack, "")).splitlines())
    period = await current(stack)
    assert (old["event"]["action"], old["note"]) == ("old.act", "recorded before the log was chained")
    head = genesis(period, "audit")
    for line in lines:
        covered = {name: value for name, value in line.items() if name not in ("hash", "mac")}
        head = hashlib.sha256(head.encode() + canonical(covered)).hexdigest()
        assert head == line["hash"]
    assert first == {"format": "tallygate-audit-1", "chain": f"audit/{period}", "head": head, "seq": len(lines)}
    assert last == {"entries": len(lines), "unchained": 1}
    assert (await export(stack, "period=2020-01")).count(b"\n") == 2


async def test_no_cell_of_the_csv_is_a_formula(stack: Stack) -> None:
    await stored_by_an_earlier_version(stack, 1)
    await timers.chain_audit(past_due=False)
    await stack.manage("POST", f"/manage/tenants/{stack.tenant}/suspend?reason=%3DHYPERLINK(1)")
    await timers.chain_audit(past_due=False)
    rows = list(csv.DictReader(io.StringIO((await export(stack, "format=csv")).decode())))
    assert rows[-1]["reason"] == "'=HYPERLINK(1)"
    assert json.loads(rows[-1]["before"])["state"] == "active"
    assert (rows[0]["action"], rows[0]["seq"]) == ("old.act", "")
    assert [row["seq"] for row in rows[1:]] == [str(number) for number in range(1, len(rows))]
    await stack.manage("GET", "/manage/audit/export?format=xml", status=400)
    chain: Any = (await stack.gateway()).audit.chain
    chain._store._tables["auditlog"][await current(stack)]["E|0000000000000001"].fields["event"] = "no JSON"
    rows = list(csv.DictReader(io.StringIO((await export(stack, "format=csv")).decode())))
    assert (rows[1]["action"], rows[1]["after"]) == ("", "no JSON")


async def test_a_hold_on_a_month_is_set_and_released_once_with_an_event_each(stack: Stack) -> None:
    path = "/manage/audit/holds/2026-01"
    for _ in range(2):
        held = await stack.manage("PUT", f"{path}?reason=case%2042")
        assert (held["period"], held["hold_by"], held["hold_reason"]) == ("2026-01", "admin-key", "case 42")
        assert held["deleted_at"] is None
    for _ in range(2):
        assert (await stack.manage("DELETE", f"{path}?reason=closed"))["hold_since"] is None
    released, held = await logged(stack, "&object=2026-01")
    assert [each["action"] for each in (released, held)] == ["audit.release", "audit.hold"]
    assert (released["weakens"], released["reason"]) == (["hold_since"], "closed")
    await stack.manage("PUT", "/manage/audit/holds/2026-13", status=400)


@pytest.mark.parametrize("stack_settings", [{"AUDIT_RETENTION_MONTHS": "2"}], indirect=True)
async def test_retention_deletes_what_is_over_but_never_below_a_hold(stack: Stack, caplog: Any) -> None:
    audit = (await stack.gateway()).audit
    now = BillingPeriod.parse(await current(stack))
    kept, due, held = (_before(now, months) for months in (2, 3, 4))
    for period in (kept, due, held):
        await audit.chain.append(str(period), [event_at(period.start, number) for number in "ab"])
    await stack.manage("PUT", f"/manage/audit/holds/{held}")
    await timers.chain_audit(past_due=False)
    assert '"gateway.timer.count.events_deleted": 2' in caplog.text
    deleted = await stack.manage("GET", f"/manage/audit/verify?period={due}")
    assert (deleted["holds"], deleted["events"], deleted["first"]) == (True, 0, 3)
    for period in (kept, held):
        verified = await stack.manage("GET", f"/manage/audit/verify?period={period}")
        assert (verified["holds"], verified["events"]) == (True, 2)
    told = (await logged(stack, f"&object={due}"))[0]
    assert (told["actor"], told["action"], told["after"]["deleted_seq"]) == ("tallygate", "audit.delete", 2)
    head = await audit.chain.head(str(due))
    assert head is not None
    assert (head.seq, head.head) == (2, told["after"]["deleted_head"])
    await stack.manage("DELETE", f"/manage/audit/holds/{held}")
    await timers.chain_audit(past_due=False)
    assert (await stack.manage("GET", f"/manage/audit/verify?period={held}"))["first"] == 3


def _before(period: BillingPeriod, months: int) -> BillingPeriod:
    for _ in range(months):
        period = period.previous()
    return period


async def test_a_grant_that_was_only_asked_for_is_finished_with_the_event_it_has(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await stack.gateway()
    ledger: Any = gateway.ledger.books
    path, grant = f"/manage/tenants/{stack.tenant}/grants", {"tokens": 5, "reason": "x", "grant_id": "g"}
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"monthly_quota_tokens": 100})

    async def gone(*_: object) -> None:
        raise LedgerUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "grant", gone)
        await stack.manage("POST", path, grant, status=503)
    await timers.reconcile_limits(past_due=False)  # the process may still be at it
    assert (await stack.usage())["quota_tokens"] == 100
    with monkeypatch.context() as patched:
        patched.setattr("shared.application.tenancy.grant_quota._ABANDONED", timedelta())
        await timers.reconcile_limits(past_due=False)
    assert (await stack.usage())["quota_tokens"] == 105
    assert (await stack.manage("POST", path, grant, status=201))["quota_tokens"] == 105
    asked = [each["action"] for each in await logged(stack, f"&object={stack.tenant}&action=tenant.grant")]
    assert asked == ["tenant.grant"]
