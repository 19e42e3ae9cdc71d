"""Replies of an upstream that lies: other members in its answers, or events that no model generates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from local.simulator.faults import Fault
from local.simulator.replies import Part, Reply
from local.simulator.wire import EVENTS


def told(reply: Reply, fault: Fault | None) -> Reply:
    """Return a reply as the fault wants it."""
    if fault is not None and fault.kind == "script":
        parts = [Part(_event(event), reply.usage) for event in fault.events]
        parts.append(Part(fault.ending.encode(), reply.usage))
        return replace(reply, content_type=EVENTS, parts=iter(parts))
    if fault is not None and fault.kind == "lie":
        members, parts_told = fault.body, None
        if reply.parts is not None:
            parts_told = (replace(part, content=_lie(part.content, members)) for part in reply.parts)
        return replace(reply, content=_lie(reply.content, members), parts=parts_told)
    return reply


def _event(fields: Any) -> bytes:
    """Return an event without a name. A text is sent as it is."""
    return f"data: {fields if isinstance(fields, str) else json.dumps(fields, separators=(',', ':'))}\n\n".encode()


def _lie(content: bytes, members: Mapping[str, Any]) -> bytes:
    """Replace members of an answer, or of the response inside an event; a usage only where one is stated."""
    head, mark, text = content.rpartition(b"data: ") if content.endswith(b"\n\n") else (b"", b"", content)
    try:
        document = json.loads(text)
    except ValueError:
        return content
    target = document.get("response", document)
    target |= {name: value for name, value in members.items() if name != "usage" or target.get("usage")}
    return head + mark + json.dumps(document, separators=(",", ":")).encode() + (b"\n\n" if mark else b"")
