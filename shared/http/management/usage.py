"""The management routes of a tenant's usage and ledger entries."""

from __future__ import annotations

import re
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.application.billing.report_usage import EntryCursor, EntryFilter, LaneEntry
from shared.composition.gateway import Gateway
from shared.domain.audit.entry_proof import proof_document
from shared.domain.errors import InvalidRequest
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.entries import Attempt, LedgerEntry, Outcome
from shared.domain.ledger.lanes import MAX_LANES
from shared.domain.pricing.money import usd
from shared.http.endpoint import for_managers, json_response, list_response
from shared.http.management.paths import tenant_id_of
from shared.http.requests import moment_query, page_query, path_segment
from shared.http.usage_report import period_of, usage_response, usd_or_null

_RID_SEGMENT = 4
_LANE_AND_SEQ = r"\d{1,4}:\d{1,18}"
_SEQ = re.compile(r"[0-9]{1,15}", re.ASCII)
_ENTRY_CURSOR = re.compile(rf"{_LANE_AND_SEQ}(,{_LANE_AND_SEQ}){{0,{MAX_LANES}}}", re.ASCII)


@for_managers
async def tenant_usage(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}/usage?period=YYYY-MM&group_by=deployment,user,application,day`."""
    return await usage_response(gateway, request, tenant_id_of(request))


@for_managers
async def tenant_entries(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}/entries?period=&from=&to=&user=&application=&limit=&cursor=`, newest first."""
    return await entries_response(gateway, request, tenant_id_of(request))


@for_managers
async def entry_proof(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}/entries/{rid}/proof?period=&seq=`."""
    return await proof_response(gateway, request, tenant_id_of(request), path_segment(request, _RID_SEGMENT))


async def proof_response(gateway: Gateway, request: Request, tenant_id: str, rid: str) -> Response:
    """Answer with the proof of one of a tenant's entries: of that which resolves `rid`, or of that of number `seq`."""
    text = request.query_params.get("seq")
    if text is not None and _SEQ.fullmatch(text) is None:
        raise InvalidRequest("'seq' must be the number of an entry.", "seq")
    proof = await gateway.prove_entry(tenant_id, period_of(gateway, request), rid, None if text is None else int(text))
    return json_response(proof_document(proof))


async def entries_response(gateway: Gateway, request: Request, tenant_id: str) -> Response:
    """Answer with a page of a tenant's entries."""
    limit, cursor = page_query(request)
    chosen = EntryFilter(
        start=moment_query(request, "from"),
        end=moment_query(request, "to") or "~",
        user=request.query_params.get("user"),
        application=request.query_params.get("application"),
    )
    page = await gateway.billing.usage.entries(
        tenant_id, period_of(gateway, request), chosen, _read_cursor(cursor), limit
    )
    return list_response([_entry_document(each) for each in page.entries], _written_cursor(page.next_cursor))


def _written_cursor(cursor: EntryCursor | None) -> str | None:
    return None if cursor is None else ",".join(f"{lane}:{seq}" for lane, seq in cursor.items())


def _read_cursor(text: str | None) -> EntryCursor | None:
    """Read `{lane}:{seq},...`, as a list returned it. Raises `InvalidRequest`."""
    if text is None:
        return None
    if _ENTRY_CURSOR.fullmatch(text) is None:
        raise InvalidRequest("'cursor' must be one that a list returned.", "cursor")
    return {int(lane): int(seq) for lane, _, seq in (part.partition(":") for part in text.split(","))}


def _entry_document(found: LaneEntry) -> dict[str, object]:
    """Render an entry. Facts of an attempt, a limit or a transfer are there only where the entry has them."""
    entry = found.entry
    document: dict[str, object] = {
        "lane": found.lane.number,
        "seq": entry.seq,
        "kind": entry.kind,
        "timestamp": entry.timestamp,
        "tokens": entry.amount.tokens,
        "cost_usd": usd(entry.amount.pusd),
        "reserved_tokens": entry.reserved.tokens,
        "reserved_usd": usd(entry.reserved.pusd),
        "hash": entry.hash,
    }
    if entry.method:
        document |= {"method": entry.method, "key_version": entry.key_version, "mac": entry.mac}
    if entry.attempt is not None and entry.outcome is not None:
        document |= _attempt_document(entry.rid, entry.attempt, entry.outcome)
    if entry.limit is not None:
        document |= _limit_document(entry, entry.limit)
    if entry.transferred is not None:
        document |= _transfer_document(entry.transferred)
    if entry.reference:
        document["reference"] = entry.reference
    return document


def _attempt_document(rid: str, attempt: Attempt, outcome: Outcome) -> dict[str, object]:
    usage = outcome.usage
    return {
        "rid": rid,
        **asdict(attempt),
        "usage": {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, **asdict(usage)},
        "status": outcome.status,
        "error_code": outcome.error_code,
        "latency_ms": outcome.latency_ms,
        "estimated": outcome.estimated,
        "content_filter": outcome.content_filter,
        "service_tier": outcome.service_tier,
        "price_flags": outcome.price_flags,
        "corrected": outcome.corrected,
        "superseded": outcome.superseded,
    }


def _limit_document(entry: LedgerEntry, limit: Limit) -> dict[str, object]:
    return {
        "quota_tokens": limit.tokens,
        "budget_usd": usd_or_null(limit.pusd),
        "actor": entry.actor,
        "reason": entry.reason,
    }


def _transfer_document(transferred: Amount) -> dict[str, object]:
    return {"moved_tokens": transferred.tokens, "moved_usd": usd(transferred.pusd)}
