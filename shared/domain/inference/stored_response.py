"""Responses that upstream keeps: whose each is, and where."""

from __future__ import annotations

from shared.domain.values import record


@record
class StoredResponse:
    """A response of the Responses API. `context_tokens` is what a response that follows it has in its context."""

    response_id: str
    tenant_id: str
    deployment: str
    backend_id: str
    context_tokens: int = 0
