"""The headers of a caller's trace."""

from __future__ import annotations

import pytest

from shared.domain.telemetry.trace_context import CallerContext, caller_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def parent(version: str = "00", trace: str = TRACE, span: str = SPAN, flags: str = "01", rest: str = "") -> bytes:
    return f"{version}-{trace}-{span}-{flags}{rest}".encode()


@pytest.mark.parametrize("header", [parent(), parent(flags="00"), parent(version="cc", rest="-what the future brings")])
def test_the_trace_and_the_span_of_a_caller_are_read(header: bytes) -> None:
    assert caller_context(header) == CallerContext(TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        parent(trace="0" * 32),
        parent(span="0" * 16),
        parent(version="ff"),
        parent(rest="-more"),
        parent(trace=TRACE.upper()),
        parent(trace=TRACE[1:]),
        parent(flags="0"),
        parent() + b"\r\nforged",
    ],
)
def test_anything_else_is_no_trace(header: bytes) -> None:
    assert caller_context(header) is None


@pytest.mark.parametrize(
    ("state", "kept"), [(b"a=1,b=2", "a=1,b=2"), (b"a=\xff", ""), (b"a" * 513, ""), (b"a\r\nb", "")]
)
def test_a_state_that_is_plain_and_short_is_kept(state: bytes, kept: str) -> None:
    assert caller_context(parent(), state) == CallerContext(TRACE, SPAN, kept)
