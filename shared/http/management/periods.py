"""The management routes of billing periods and their statements."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.application.ledger.swept_lanes import lane_name
from shared.composition.gateway import Gateway
from shared.domain.billing.manifest import StatementFile
from shared.domain.billing.period_status import PeriodState, PeriodStatus
from shared.domain.identifiers import timestamp
from shared.http.endpoint import for_managers, json_response, list_response
from shared.http.management.paths import period_of

_ACCEPTED = 202


@for_managers
async def list_periods(gateway: Gateway, _request: Request, _: Actor) -> Response:
    """`GET /manage/periods`, the latest first."""
    listed = await gateway.billing.periods.list()
    return list_response([status_document(status) for status in listed.periods], damaged=listed.damaged)


@for_managers
async def close_period(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/periods/{period}/close`. 202 if the work goes on after the answer."""
    status = await gateway.billing.periods.close(period_of(request), actor)
    is_closed = status.state in (PeriodState.CLOSED, PeriodState.EXPORTED)
    return json_response(status_document(status), 200 if is_closed else _ACCEPTED)


@for_managers
async def export_period(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/chargeback/{period}/export`. 202 if the work goes on after the answer."""
    period = period_of(request)
    files = await gateway.billing.periods.export(period, actor)
    document = {"period": str(period), "files": _file_documents(files or ())}
    return json_response(document, _ACCEPTED if files is None else 200)


def status_document(status: PeriodStatus) -> dict[str, object]:
    return {
        "period": str(status.period),
        "state": status.state,
        "closable_from": timestamp(status.closable_from),
        "lanes": status.lanes,
        "lanes_not_closed": [lane_name(lane) for lane in status.lanes_not_closed],
    }


def _file_documents(files: Iterable[StatementFile]) -> list[dict[str, object]]:
    return [{"name": file.name, "sha256": file.sha256, "size_bytes": file.size_bytes} for file in files]
