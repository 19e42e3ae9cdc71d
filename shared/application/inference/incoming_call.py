"""What a caller asks for, as it came and as it was read."""

from __future__ import annotations

from collections.abc import Mapping

from shared.application.ports.formats import InferenceFormat
from shared.application.routing.fair_queue import HungUp
from shared.application.tenancy.authenticate import TenantPrincipal
from shared.domain.inference.parsed_body import InferenceRequest
from shared.domain.inference.stored_response import StoredResponse
from shared.domain.routing.catalog import Backend, BackendApi, Deployment
from shared.domain.routing.paths import V1
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import value

MAX_USER_CHARACTERS = 256


@value
class InferenceCall:
    """A request of the inference API."""

    request_id: str
    body: bytes
    content_type: str
    deployment: str | None
    """The deployment in the path, or `None` where the body's `model` names it."""
    base: str
    """What stands before the operation in the path: `/openai/v1`, or `/openai` in the dated API."""
    api_version: str
    headers: Mapping[str, str]
    user: str
    hung_up: HungUp
    """Returns when the caller has gone; watched only while the request waits."""

    def own_version_at(self, backend: Backend) -> str:
        """The caller's api-version, where it stands in the path at which a backend is asked; else empty."""
        is_replaced = backend.api is BackendApi.OPENAI or (self.base != V1 and backend.api_version)
        return "" if is_replaced else self.api_version


@value
class Inquiry:
    """A call that was read and whose deployment is known. `previous` is the response that it follows."""

    caller: TenantPrincipal
    call: InferenceCall
    wire: InferenceFormat
    request: InferenceRequest
    deployment: Deployment
    previous: StoredResponse | None

    @property
    def tenant(self) -> Tenant:
        return self.caller.tenant
