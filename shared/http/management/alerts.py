"""The management routes of alerts and of their sinks."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from shared.application.alerts.manage_sinks import ConfiguredSink
from shared.application.audit.record_audit import Actor
from shared.composition.gateway import Gateway
from shared.domain.alerts.event import AlertEvent
from shared.domain.alerts.sink import AlertSink, SinkId
from shared.domain.errors import InvalidRequest
from shared.domain.identifiers import timestamp
from shared.http.declared import etags_of
from shared.http.endpoint import for_managers, json_response, list_response
from shared.http.management.alert_models import SINK_NAME, AlertTest, SinkDefinition
from shared.http.management.paths import MODEL_BYTES, tenant_id_of
from shared.http.requests import page_query, path_segment, read_model

_OF_PLATFORM: Final = 3
"""The segment of the name in `/manage/alerts/sinks/{sink}`."""
_OF_TENANT: Final = 5
"""The segment of the name in `/manage/tenants/{tenant}/alerts/sinks/{sink}`."""
_NAME: Final = re.compile(SINK_NAME)
_sink_json = TypeAdapter(AlertSink)


@for_managers
async def list_alerts(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/alerts?limit=`: those of the platform, newest first."""
    return await alerts_response(gateway, request, "")


@for_managers
async def list_tenant_alerts(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}/alerts?limit=`, newest first."""
    return await alerts_response(gateway, request, tenant_id_of(request))


@for_managers
async def list_sinks(gateway: Gateway, _request: Request, _: Actor) -> Response:
    """`GET /manage/alerts/sinks`: those of the platform."""
    return await _sinks_response(gateway, "")


@for_managers
async def list_tenant_sinks(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}/alerts/sinks`."""
    return await _sinks_response(gateway, tenant_id_of(request))


@for_managers
async def get_sink(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/alerts/sinks/{sink}`."""
    return await _get(gateway, _platform_sink(request))


@for_managers
async def get_tenant_sink(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}/alerts/sinks/{sink}`."""
    return await _get(gateway, _tenant_sink(request))


@for_managers
async def put_sink(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`PUT /manage/alerts/sinks/{sink}`."""
    return await _put(gateway, request, _platform_sink(request), actor)


@for_managers
async def put_tenant_sink(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`PUT /manage/tenants/{tenant}/alerts/sinks/{sink}`."""
    return await _put(gateway, request, _tenant_sink(request), actor)


@for_managers
async def remove_sink(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`DELETE /manage/alerts/sinks/{sink}`."""
    await gateway.alerts.sinks.remove(_platform_sink(request), etags_of(request), actor)
    return Response(status_code=204)


@for_managers
async def remove_tenant_sink(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`DELETE /manage/tenants/{tenant}/alerts/sinks/{sink}`."""
    await gateway.alerts.sinks.remove(_tenant_sink(request), etags_of(request), actor)
    return Response(status_code=204)


@for_managers
async def redeliver(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/alerts/sinks/{sink}/redeliver`: what was given up waits again."""
    return await _redeliver(gateway, _platform_sink(request), actor)


@for_managers
async def redeliver_of_tenant(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants/{tenant}/alerts/sinks/{sink}/redeliver`."""
    return await _redeliver(gateway, _tenant_sink(request), actor)


@for_managers
async def test_alerts(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/alerts/test`: send a test to sinks now, and tell which took it."""
    asked = await read_model(request, AlertTest, MODEL_BYTES)
    trials = await gateway.alerts.try_sinks(asked.tenant_id, asked.sink, actor)
    results = [
        {
            "sink": each.sink.name,
            "type": each.sink.type,
            "delivered": not each.reason,
            "reason": each.reason or None,
            "duration_ms": each.duration_ms,
        }
        for each in trials
    ]
    return json_response({"delivered": all(not each.reason for each in trials), "sinks": results})


async def alerts_response(gateway: Gateway, request: Request, tenant_id: str) -> Response:
    """Return the newest events of a tenant, or of the platform."""
    limit, _ = page_query(request)
    events = await gateway.alerts.outbox.of_owner(tenant_id)
    return list_response([_event_document(each) for each in events[:limit]])


def _event_document(event: AlertEvent) -> dict[str, object]:
    document: dict[str, object] = msgspec.json.decode(event.document, type=dict[str, object])
    return document


async def _sinks_response(gateway: Gateway, tenant_id: str) -> Response:
    sinks = await gateway.alerts.sinks.list(tenant_id)
    damaged = await gateway.alerts.sinks.damaged(tenant_id)
    return list_response([await _sink_document(gateway, each) for each in sinks], damaged=damaged)


async def _get(gateway: Gateway, sink_id: SinkId) -> Response:
    return await _sink_response(gateway, await gateway.alerts.sinks.get(sink_id))


async def _put(gateway: Gateway, request: Request, sink_id: SinkId, actor: Actor) -> Response:
    definition = await read_model(request, SinkDefinition, MODEL_BYTES)
    sink = await gateway.alerts.sinks.put(definition.to_domain(sink_id), etags_of(request), actor)
    return await _sink_response(gateway, sink)


async def _redeliver(gateway: Gateway, sink_id: SinkId, actor: Actor) -> Response:
    return json_response({"redelivered": await gateway.alerts.sinks.redeliver(sink_id, actor)})


async def _sink_response(gateway: Gateway, configured: ConfiguredSink) -> Response:
    headers = {"ETag": configured.etag} if configured.etag else None
    return json_response(await _sink_document(gateway, configured), 200, headers)


async def _sink_document(gateway: Gateway, configured: ConfiguredSink) -> dict[str, object]:
    document: dict[str, object] = _sink_json.dump_python(configured.sink, mode="json")
    backlog = await gateway.alerts.sinks.backlog(configured.sink)
    created_at = configured.sink.created_at
    return {
        **document,
        "created_at": timestamp(created_at) if created_at else None,
        "source": "api" if configured.etag else "settings",
        "waiting": backlog.waiting,
        "dead": backlog.dead,
        "damaged": backlog.damaged,
    }


def _platform_sink(request: Request) -> SinkId:
    return SinkId("", _name(path_segment(request, _OF_PLATFORM)))


def _tenant_sink(request: Request) -> SinkId:
    return SinkId(tenant_id_of(request), _name(path_segment(request, _OF_TENANT)))


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise InvalidRequest(
            "The name of a sink has 1 to 40 lower-case letters, digits and hyphens, and begins with no hyphen.", "sink"
        )
    return text
