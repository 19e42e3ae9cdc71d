"""Spans of traces, made from recorded times once a request has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from shared.domain.values import record

Attributes: TypeAlias = Mapping[str, str | int | float]


@record
class Span:
    """One span. Ids are in hexadecimal."""

    name: str
    is_server: bool
    """The span of a request; else that of an attempt at a backend."""
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the first span of a trace."""
    has_remote_parent: bool
    started_ns: int
    """Nanoseconds since 1970."""
    ended_ns: int
    attributes: Attributes
    error: str
    """The code of an error; empty if there was none."""
    sampled_percent: float
    """The part of such requests that get a trace."""
