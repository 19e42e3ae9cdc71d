"""A request of the inference API, as the caller sent it."""

from __future__ import annotations

from collections.abc import Mapping

from shared.application.routing.fair_queue import WaitForDisconnect
from shared.application.telemetry.request_trace import RequestTrace
from shared.domain.routing.catalog import Backend, BackendApi
from shared.domain.routing.paths import V1
from shared.domain.values import fact


@fact
class IncomingCall:
    """One HTTP request before its body is parsed."""

    request_id: str
    trace: RequestTrace
    body: bytes
    content_type: str
    deployment: str | None
    """The deployment in the path; `None` on the v1 path, where the body's `model` names it."""
    base: str
    """The path before the operation: `/openai/v1`, or `/openai` in the dated API."""
    api_version: str
    """The query parameter `api-version`; empty if it was not sent."""
    headers: Mapping[str, str]
    """Headers to forward upstream."""
    user: str
    """The header `x-gateway-user`; empty if it was not sent."""
    wait_for_disconnect: WaitForDisconnect
    """Returns when the client has disconnected. Called only while the request waits in a queue."""

    def api_version_sent_to(self, backend: Backend) -> str:
        """Return the caller's api-version if the path at this backend carries it; else an empty string."""
        is_replaced = backend.api is BackendApi.OPENAI or (self.base != V1 and backend.api_version)
        return "" if is_replaced else self.api_version
