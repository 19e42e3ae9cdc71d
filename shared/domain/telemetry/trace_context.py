"""The trace that a caller continues, as W3C writes it: https://www.w3.org/TR/trace-context/."""

from __future__ import annotations

import re
from typing import Final

from shared.domain.values import value

_TRACEPARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-[ -~]*)?")
_STATE: Final = re.compile(rb"[ -~]{1,512}")
"""A `tracestate` that is passed on: no longer than what W3C asks services to pass on."""


@value
class CallerContext:
    """The trace and the span of a caller, in hexadecimal, and the state of its vendors."""

    trace_id: str
    span_id: str
    state: str = ""


def caller_context(traceparent: bytes, tracestate: bytes = b"") -> CallerContext | None:
    """Read the headers of a caller. Returns `None` where they name no trace.

    The flag of the caller is not read: it would let callers decide how much is exported.
    """
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, span_id, rest = match.groups()
    is_wrong = version == b"ff" or (version == b"00" and rest) or not (trace_id.strip(b"0") and span_id.strip(b"0"))
    if is_wrong:
        return None
    state = tracestate.decode() if _STATE.fullmatch(tracestate) else ""
    return CallerContext(trace_id.decode(), span_id.decode(), state)
