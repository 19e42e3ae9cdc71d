"""All events of the log: their names, and what they mean. This is the one table of them.

Fields are named in `shared/application/structured_log.py`.
"""

from __future__ import annotations

from typing import Final

from shared.domain.values import record

_PER_SECOND: Final = 10


@record
class Event:
    """One kind of log line."""

    name: str
    meaning: str
    fields: tuple[str, ...] = ()
    """The fields beside `gateway.request_id` and `gateway.lines_left_out`, which any line may have."""
    per_second: int | None = _PER_SECOND
    """The most lines a second of one process; `None` for events whose number something else bounds."""
    at_any_level: bool = False
    """Lines are written whatever `LOG_LEVEL` is, because e-mail or a dashboard hangs on them."""


STARTED: Final = Event(
    name="gateway.started",
    meaning="a process has built its gateway; the line has its settings, without secrets",
    fields=("gateway.instance", "gateway.settings"),
    per_second=None,
)
MISCONFIGURED: Final = Event(
    name="gateway.misconfigured",
    meaning="an error: settings are missing or wrong, so that every request gets 503; the message names them. "
    "Once for each process and message, and exported if the settings of telemetry are right",
    fields=("error.message",),
    per_second=None,
)
START_FAILED: Final = Event(
    name="gateway.start_failed",
    meaning="an error: the gateway could not be built, for example because a vault cannot be read; it tries again",
    fields=(
        "error.message",
        "gateway.exception.type",
        "gateway.exception.cause",
        "gateway.exception.stacktrace",
    ),
    per_second=1,
)
BREAKER_CHANGED: Final = Event(
    name="gateway.breaker.changed",
    meaning="a circuit breaker opened or closed; the message is the cause, the request is the one that met it",
    fields=("gateway.backend", "gateway.state", "error.message"),
)
FAILOVER: Final = Event(
    name="gateway.failover",
    meaning="an attempt failed, and another backend is asked",
    fields=("gateway.tenant", "gateway.backend", "gateway.to_backend", "error.type", "error.message"),
)
SPILLOVER: Final = Event(
    name="gateway.spillover",
    meaning="Azure served an attempt by its own spillover, and it was priced as the configured deployment",
    fields=("gateway.tenant", "gateway.backend", "error.message"),
)
SPILLED: Final = Event(
    name="gateway.backend.spilled",
    meaning="an error: Azure served a request by a spillover deployment that the backend does not state",
    fields=("gateway.tenant", "gateway.backend", "error.message"),
)
SPILL_FAILED: Final = Event(
    name="gateway.backend.spill_failed",
    meaning="Azure could not spill over to its deployment",
    fields=("gateway.tenant", "gateway.backend", "error.message"),
)
REQUEST_REFUSED: Final = Event(
    name="gateway.request.refused",
    meaning="a refusal that only configuration can end: `unpriced_model` or `residency_violation`",
    fields=("http.response.status_code", "error.type", "gateway.tenant", "error.message"),
)
REQUEST_FAILED: Final = Event(
    name="gateway.request.failed",
    meaning="a request was answered with 5xx, or broke off by a defect; message and cause say why",
    fields=(
        "http.response.status_code",
        "error.type",
        "gateway.tenant",
        "error.message",
        "gateway.exception.type",
        "gateway.exception.cause",
        "gateway.exception.stacktrace",
    ),
)
STREAM_FAILED: Final = Event(
    name="gateway.stream.failed",
    meaning="a stream that had begun ended with an error",
    fields=("gateway.tenant", "gateway.backend", "error.type", "error.message"),
)
REFUSALS_COUNTED: Final = Event(
    name="gateway.refusals",
    meaning="the requests that were refused in one minute, by reason and tenant",
    fields=("error.type", "gateway.tenant", "client.address", "gateway.minute", "gateway.count"),
    per_second=None,
)
REFUSALS_LOST: Final = Event(
    name="gateway.refusals.lost",
    meaning="an error: counts of refusals are not in the audit log, because storage could not be reached",
    fields=("gateway.count",),
    per_second=None,
)
BACKGROUND_FAILED: Final = Event(
    name="gateway.background.failed",
    meaning="an error: work that outlives its request failed",
    fields=("gateway.exception.type", "gateway.exception.cause", "gateway.exception.stacktrace", "error.message"),
)
NOT_READY: Final = Event(
    name="gateway.not_ready",
    meaning="`GET /readyz` answered 503, because of the named checks",
    fields=("http.response.status_code", "error.message"),
    per_second=1,
)
DEGRADED: Final = Event(
    name="gateway.degraded",
    meaning="`GET /readyz` answered 200, and the named checks failed",
    fields=("http.response.status_code", "error.message"),
    per_second=1,
)
CHECK_FAILED: Final = Event(
    name="gateway.check.failed",
    meaning="an error: a check of `GET /readyz` failed by a defect",
    fields=(
        "gateway.part",
        "error.message",
        "gateway.exception.type",
        "gateway.exception.cause",
        "gateway.exception.stacktrace",
    ),
    per_second=1,
)
INSTANCE_NOT_NOTED: Final = Event(
    name="gateway.instance.not_noted",
    meaning="a process could not store that it lives, because storage could not be reached",
    fields=(
        "error.message",
        "gateway.exception.type",
        "gateway.exception.cause",
        "gateway.exception.stacktrace",
    ),
    per_second=1,
)
TIMER_FINISHED: Final = Event(
    name="gateway.timer.finished",
    meaning="a timer's run ended; the line has its duration and its counts",
    fields=("gateway.timer", "gateway.timer.past_due", "gateway.timer.duration_ms", "gateway.timer.count.*"),
    per_second=None,
)
TIMER_FAILED: Final = Event(
    name="gateway.timer.failed",
    meaning="an error: a timer's run failed; the next run repeats it",
    fields=(
        "gateway.timer",
        "gateway.timer.past_due",
        "gateway.timer.duration_ms",
        "error.message",
        "gateway.exception.type",
        "gateway.exception.cause",
        "gateway.exception.stacktrace",
    ),
    per_second=None,
)
TIMER_NOT_NOTED: Final = Event(
    name="gateway.timer.not_noted",
    meaning="a timer's run is not in storage, because that could not be reached",
    fields=(
        "gateway.timer",
        "error.message",
        "gateway.exception.type",
        "gateway.exception.cause",
        "gateway.exception.stacktrace",
    ),
    per_second=None,
)
PERIOD_EXPORTED: Final = Event(
    name="gateway.period.exported",
    meaning="the statements of a period were written; the line names them with their digests",
    fields=("gateway.period", "gateway.files"),
    per_second=None,
)
ANCHORS_OFF: Final = Event(
    name="gateway.anchors.off",
    meaning="nothing is anchored, because no key is set that signs",
    fields=("error.message",),
    per_second=None,
)
CONFIGURATION_CHANGED: Final = Event(
    name="gateway.configuration.changed",
    meaning="a tenant, backend, deployment or price was changed; the audit log has the values",
    fields=("gateway.action", "gateway.subject", "gateway.actor"),
    per_second=None,
)
TENANT_DESCRIBED: Final = Event(
    name="gateway.tenant.described",
    meaning="the cost center of a tenant, once an hour; dashboards join it with metrics. Written at any `LOG_LEVEL`",
    fields=("gateway.tenant", "gateway.cost_center"),
    per_second=None,
    at_any_level=True,
)
KEY_CHANGED: Final = Event(
    name="gateway.key.changed",
    meaning="a key was created, changed, rotated or revoked",
    fields=("gateway.action", "gateway.subject", "gateway.actor"),
    per_second=None,
)
SLOW_COMMIT: Final = Event(
    name="gateway.ledger.slow_commit",
    meaning="a commit of the ledger took longer than a second",
    fields=("gateway.tenant", "gateway.duration_ms", "gateway.result"),
)
ALERT: Final = Event(
    name="gateway.alert",
    meaning="an alert is handed to the sinks. E-mail hangs on this line by a log alert, so that any `LOG_LEVEL` has it",
    fields=("gateway.alert.kind", "gateway.alert.subject", "gateway.alert.severity", "gateway.tenant"),
    per_second=None,
    at_any_level=True,
)
ALERT_DEAD: Final = Event(
    name="gateway.alert.dead",
    meaning="an error: an alert could not be delivered to a sink and is not tried again",
    fields=("gateway.alert.kind", "gateway.alert.subject", "gateway.alert.sink", "error.message"),
    per_second=None,
)
ALERT_UNDELIVERED: Final = Event(
    name="gateway.alert.undelivered",
    meaning="a warning: a sink did not take that many alerts in this run; the message has the last cause",
    fields=("gateway.alert.sink", "gateway.count", "error.message"),
    per_second=None,
)
ALERT_DAMAGED: Final = Event(
    name="gateway.alert.damaged",
    meaning="an error: a row of alerts, or the document of a sink, cannot be read; something else wrote it",
    fields=("gateway.alert.sink", "error.message"),
)
PRICE_DAMAGED: Final = Event(
    name="gateway.price.damaged",
    meaning="an error: a row of the price book is not as the gateway writes it; the message names the models whose "
    "requests are refused",
    fields=("error.message",),
)
TELEMETRY_FAILED: Final = Event(
    name="gateway.telemetry.failed",
    meaning="an error: the exporter of telemetry failed by a defect; the message says what becomes of it",
    fields=("error.message", "gateway.exception.type", "gateway.exception.cause", "gateway.exception.stacktrace"),
    per_second=1,
)
EVENTS: Final = (
    STARTED,
    MISCONFIGURED,
    START_FAILED,
    BREAKER_CHANGED,
    FAILOVER,
    SPILLOVER,
    SPILLED,
    SPILL_FAILED,
    REQUEST_REFUSED,
    REQUEST_FAILED,
    STREAM_FAILED,
    REFUSALS_COUNTED,
    REFUSALS_LOST,
    BACKGROUND_FAILED,
    NOT_READY,
    DEGRADED,
    CHECK_FAILED,
    INSTANCE_NOT_NOTED,
    TIMER_FINISHED,
    TIMER_FAILED,
    TIMER_NOT_NOTED,
    PERIOD_EXPORTED,
    ANCHORS_OFF,
    CONFIGURATION_CHANGED,
    TENANT_DESCRIBED,
    KEY_CHANGED,
    SLOW_COMMIT,
    ALERT,
    ALERT_DEAD,
    ALERT_UNDELIVERED,
    ALERT_DAMAGED,
    PRICE_DAMAGED,
    TELEMETRY_FAILED,
)
BY_NAME: Final = {event.name: event for event in EVENTS}
