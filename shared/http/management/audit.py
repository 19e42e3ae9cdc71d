"""The management routes of the audit log."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from shared.application.audit.read_audit_log import UNCHAINED, AuditCursor, AuditFilter, ShownEvent
from shared.application.audit.record_audit import Actor
from shared.application.audit.verify_audit_log import AuditVerified
from shared.composition.gateway import Gateway
from shared.domain.audit.audit_period import AuditPeriod
from shared.domain.errors import InvalidRequest
from shared.domain.identifiers import BillingPeriod, timestamp
from shared.http.endpoint import for_managers, json_response, list_response
from shared.http.management.audit_export import FORMATS
from shared.http.requests import moment_query, page_query, path_segment

_CURSOR: Final = re.compile(r"(\d{4}-\d{2}):(-?\d{1,16})", re.ASCII)
_PERIOD_SEGMENT: Final = 3


@for_managers
async def list_events(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/audit?from=&to=&actor=&object=&action=&limit=&cursor=`, newest first."""
    (limit, cursor), query = page_query(request), request.query_params
    chosen = AuditFilter(
        first=moment_query(request, "from") or "",
        end=moment_query(request, "to") or "~",
        actor=query.get("actor", ""),
        target=query.get("object", ""),
        action=query.get("action", ""),
    )
    page = await gateway.audit.read.page(chosen, _read_cursor(cursor), limit)
    after = page.next_cursor
    return list_response(
        [_event_document(each) for each in page.events], f"{after.period}:{after.seq}" if after else None
    )


@for_managers
async def verify_log(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/audit/verify?period=`."""
    period = str(_period_query(gateway, request))
    verified = await gateway.audit.verify(period)
    unchained = len(await gateway.audit.unchained.of_month(period))
    waiting = [len(await gateway.audit.waiting.waiting(table, 1000)) for table in gateway.audit.waiting.tables]
    return json_response(_verified_document(verified, unchained, sum(waiting)))


@for_managers
async def export_log(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/audit/export?period=&format=jsonl|csv`, oldest first."""
    name = request.query_params.get("format", "jsonl")
    if name not in FORMATS:
        raise InvalidRequest(f"'format' must be one of {', '.join(FORMATS)}.", "format")
    period, (export, media_type) = str(_period_query(gateway, request)), FORMATS[name]
    head = await gateway.audit.chain.head(period)
    unchained = await gateway.audit.unchained.of_month(period)
    entries = gateway.audit.chain.entries(period, 1, head.seq if head else 0)
    headers = {"Content-Disposition": f'attachment; filename="audit-{period}.{name}"'}
    return StreamingResponse(export(period, head, unchained, entries), media_type=media_type, headers=headers)


@for_managers
async def hold_period(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`PUT /manage/audit/holds/{period}?reason=`."""
    return json_response(_period_document(await gateway.audit.periods.hold(_held_period(request), actor)))


@for_managers
async def release_period(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`DELETE /manage/audit/holds/{period}?reason=`."""
    return json_response(_period_document(await gateway.audit.periods.release(_held_period(request), actor)))


def _held_period(request: Request) -> BillingPeriod:
    return BillingPeriod.parse(path_segment(request, _PERIOD_SEGMENT))


def _period_query(gateway: Gateway, request: Request) -> BillingPeriod:
    """Return the query parameter `period`, by default the current one. Raises `InvalidRequest`."""
    text = request.query_params.get("period")
    return BillingPeriod.parse(text) if text else BillingPeriod.containing(gateway.clock.now())


def _read_cursor(text: str | None) -> AuditCursor | None:
    """Read `{period}:{number}`, as a list returned it. Raises `InvalidRequest`."""
    if text is None:
        return None
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise InvalidRequest("'cursor' must be one that a list returned.", "cursor")
    return AuditCursor(str(BillingPeriod.parse(found[1])), int(found[2]))


def _event_document(shown: ShownEvent) -> dict[str, object]:
    if shown.seq is None:
        return {**shown.fields, "seq": None, "note": UNCHAINED}
    note = {} if shown.fields else {"note": "the entry cannot be read"}
    return {**shown.fields, "seq": shown.seq, "hash": shown.hash, **note}


def _verified_document(verified: AuditVerified, unchained: int, waiting: int) -> dict[str, object]:
    return {
        "period": verified.period,
        "holds": not verified.findings,
        "first": verified.first,
        "events": verified.events,
        "head": verified.head,
        "findings": [{"row": each.row, "message": each.message} for each in verified.findings],
        "unknown_key_versions": list(verified.unknown_keys),
        "unchained_events": unchained,
        "waiting_events": waiting,
    }


def _period_document(state: AuditPeriod) -> dict[str, object]:
    return {
        "period": state.period,
        "hold_since": state.hold_since and timestamp(state.hold_since),
        "hold_by": state.hold_by,
        "hold_reason": state.hold_reason,
        "deleted_at": state.deleted_at and timestamp(state.deleted_at),
        "deleted_events": state.deleted_seq,
    }
