"""Log lines with fields, by the logger `tallygate`. No line may hold a secret or a prompt."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from traceback import format_tb
from typing import Final

from shared.domain.errors import GatewayError

REQUEST: Final = "gateway.request_id"
TENANT: Final = "gateway.tenant"
BACKEND: Final = "gateway.backend"
COUNT: Final = "gateway.count"
ERROR: Final = "error.type"
MESSAGE: Final = "error.message"
SOURCE: Final = "client.address"
STATUS: Final = "http.response.status_code"
"""Names of fields: OpenTelemetry's where it has them. https://opentelemetry.io/docs/specs/semconv/registry/attributes/"""

request_id: Final = ContextVar("request_id", default="")
"""The id of the request that is being served; empty outside a request, and while an answer is streamed."""
_logger: Final = logging.getLogger("tallygate")


def log_event(level: int, event: str, fields: Mapping[str, str | int]) -> None:
    """Write one line: the name of the event, and its fields as a JSON object in ASCII, which escapes all controls.

    Adds the id of the request. An exporter of OpenTelemetry finds the fields as attributes of the record.
    """
    if REQUEST not in fields and (current := request_id.get()):
        fields = {REQUEST: current, **fields}
    _logger.log(level, "%s %s", event, json.dumps(fields), extra={"event.name": event, **fields})


def fields_of(error: BaseException) -> dict[str, str | int]:
    """Describe an error by its type and its place. Only messages of the gateway's own errors are safe to log."""
    cause = error.__cause__
    described: dict[str, str | int] = {
        "exception.type": type(error).__name__,
        "exception.stacktrace": "".join(format_tb(error.__traceback__)),
    }
    if isinstance(error, GatewayError):
        described[MESSAGE] = str(error)
    if cause is not None:
        described["exception.cause"] = type(cause).__name__
    return described
