"""Log lines with fields, by the logger `tallygate`. No line may hold a secret or a prompt."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from traceback import format_tb
from typing import Final

from shared.application.per_second import PerSecond
from shared.domain.errors import GatewayError
from shared.domain.telemetry.events import BY_NAME

REQUEST: Final = "gateway.request_id"
TENANT: Final = "gateway.tenant"
BACKEND: Final = "gateway.backend"
COUNT: Final = "gateway.count"
LEFT_OUT: Final = "gateway.lines_left_out"
ERROR: Final = "error.type"
MESSAGE: Final = "error.message"
SOURCE: Final = "client.address"
STATE: Final = "gateway.state"
STATUS: Final = "http.response.status_code"
"""Names of fields: OpenTelemetry's where it has them. https://opentelemetry.io/docs/specs/semconv/registry/attributes/"""

request_id: Final = ContextVar("request_id", default="")
"""The id of the request that is being served; empty outside a request, and while an answer is streamed."""
_logger: Final = logging.getLogger("tallygate")


line_bounds: Final = PerSecond()
"""The lines of this process. Events that are not in the table have none."""


def log_event(level: int, event: str, fields: Mapping[str, str | int]) -> None:
    """Write one line: the name of the event, and its fields as a JSON object in ASCII, which escapes all controls.

    Adds the id of the request, and the number of lines of this event that its bound has left out. An exporter of
    OpenTelemetry finds the fields as attributes of the record.
    """
    declared = BY_NAME.get(event)
    if not (_logger.isEnabledFor(level) or (declared is not None and declared.at_any_level)):
        return
    if declared is not None and declared.per_second is not None:
        if not line_bounds.admit(event, declared.per_second):
            return
        if left_out := line_bounds.take_left_out(event):
            fields = {**fields, LEFT_OUT: left_out}
    if REQUEST not in fields and (current := request_id.get()):
        fields = {REQUEST: current, **fields}
    arguments, extra = (event, json.dumps(fields)), {"event.name": event, **fields}
    # A record that is made here does not pass the level of the logger, which was compared above.
    _logger.handle(_logger.makeRecord(_logger.name, level, __file__, 0, "%s %s", arguments, None, extra=extra))


def fields_of(error: BaseException) -> dict[str, str | int]:
    """Describe an error by its type and its place. Only messages of the gateway's own errors are safe to log."""
    cause = error.__cause__
    described: dict[str, str | int] = {
        "gateway.exception.type": type(error).__name__,
        "gateway.exception.stacktrace": "".join(format_tb(error.__traceback__)),
    }
    if isinstance(error, GatewayError):
        described[MESSAGE] = str(error)
    if cause is not None:
        described["gateway.exception.cause"] = type(cause).__name__
    return described
