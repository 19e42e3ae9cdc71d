"""The management route of the gateway's own state."""

from __future__ import annotations

from typing import Final

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.application.health.show_status import GatewayStatus
from shared.composition.gateway import Gateway
from shared.domain.health.instance import Instance
from shared.domain.health.timer_run import TimerState
from shared.domain.health.verification import Verification
from shared.domain.identifiers import timestamp
from shared.http.endpoint import for_managers, json_response
from shared.http.management.periods import status_document
from shared.version import VERSION

_instances: Final = TypeAdapter(list[Instance])
_verification: Final = TypeAdapter(Verification)
_LEFT_TO_THE_COMMAND: Final = "anchors, documents, limits of tenants and statements (I12, I13, I16, I17, I19 to I21)"


@for_managers
async def get_status(gateway: Gateway, _request: Request, _: Actor) -> Response:
    """`GET /manage/status`."""
    status = await gateway.health.status()
    backlog = await gateway.alerts.backlog()
    outbox = [
        {"sink": name, "waiting": each.waiting, "dead": each.dead, "damaged": each.damaged}
        for name, each in backlog.items()
    ]
    own = {"version": VERSION, "instance": gateway.settings.website_instance_id}
    return json_response({**own, **_document(status), "outbox": outbox})


def _document(status: GatewayStatus) -> dict[str, object]:
    return {
        "at": timestamp(status.at),
        "status": status.parts.readiness,
        "checks": status.parts.parts,
        "instances": _instances.dump_python([*status.instances], mode="json"),
        "timers": [_timer_document(each) for each in status.timers],
        "anchors": {"age_seconds": _whole(status.anchors_age_seconds)},
        "verifications": [_verification_document(each) for each in status.verifications],
        "problems": [{"object": each.subject, "message": each.message} for each in status.problems],
        "periods_due": [status_document(each) for each in status.periods_due],
    }


def _verification_document(verification: Verification) -> dict[str, object]:
    command = f"{_LEFT_TO_THE_COMMAND}: `tallygate verify --period {verification.period}`"
    document = _verification.dump_python(verification, mode="json", exclude={"next_lane", "next_entry"})
    return {**document, "left_to_the_command": command}


def _timer_document(timer: TimerState) -> dict[str, object]:
    run = timer.run
    return {
        "timer": timer.timer,
        "schedule": timer.schedule,
        "is_late": timer.is_late,
        "age_seconds": _whole(timer.age_seconds),
        "started_at": run and timestamp(run.started_at),
        "succeeded_at": run and run.succeeded_at and timestamp(run.succeeded_at),
        "duration_seconds": run and run.seconds,
        "instance": run and run.instance,
        "counts": run.counts if run else {},
        "failures": run.failures if run else 0,
        "error": (run and run.error) or None,
    }


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)
