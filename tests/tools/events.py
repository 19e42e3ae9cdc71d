"""Audit events for tests that change documents past the management API."""

from __future__ import annotations

import json
from typing import Any

from shared.adapters.documents.audit import OUTBOX_TABLES
from shared.adapters.documents.store import Documents
from shared.application.audit.record_audit import Actor
from shared.domain.audit.events import AuditEvent
from shared.domain.values import ValueObject
from tests.tools.ledgers import NOW


def told(*, before: ValueObject | None = None, after: ValueObject | None = None) -> AuditEvent:
    """Return the event of a change that a test makes."""
    return Actor(name="test").event(NOW, "test.change", "something", before=before, after=after)


async def waiting(documents: Documents) -> list[dict[str, Any]]:
    """Return all events that are not chained yet, in the order of their ids."""
    found = [each for table in OUTBOX_TABLES for each in await documents.pending(table, 10_000)]
    return [json.loads(each.text) for each in sorted(found, key=lambda each: each.event_id)]
