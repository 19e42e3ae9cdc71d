"""Responses that upstream stores, with their owners."""

from __future__ import annotations

from shared.domain.values import record


@record
class StoredResponse:
    """A response of the Responses API that upstream stores, and the tenant that owns it."""

    response_id: str
    tenant_id: str
    deployment: str
    backend_id: str
    context_tokens: int = 0
    """Tokens that this response adds to the input of a response that follows it."""
