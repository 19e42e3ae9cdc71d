"""Backends and deployments as operators define them: over the management API, or in the environment.

The same models validate both, and describe the bodies in `/reference`.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr

from shared.domain.ledger.amounts import MAX_PERIOD_TOKENS
from shared.domain.routing.catalog import Backend, BackendApi, BackendAuth, Deployment
from shared.domain.routing.spillover import Spillover

MAX_POOL: Final = 100
"""Backends or fallbacks of a deployment, and backends of a tenant's own pool."""
_MAX_HEADERS: Final = 20
_GATEWAYS_OWN_HEADERS = frozenset(
    {"accept-encoding", "api-key", "authorization", "connection", "content-encoding", "content-length", "content-type",
     "cookie", "expect", "host", "te", "transfer-encoding", "upgrade"}
)  # fmt: skip


def printable(text: str) -> str:
    """Return a text that people can read. Raises `ValueError` for any other."""
    if not text.isprintable() or text.strip() != text:
        raise ValueError("must be printable, without line breaks, invisible characters and blanks around it")
    return text


def _header_name(text: str) -> str:
    if text.lower() in _GATEWAYS_OWN_HEADERS:
        raise ValueError("is set by the gateway itself")
    return text.lower()


Name = Annotated[StrictStr, Field(min_length=1, max_length=128), AfterValidator(printable)]
Text = Annotated[StrictStr, Field(max_length=256), AfterValidator(printable)]
Pool = Annotated[list[Name], Field(min_length=1, max_length=MAX_POOL)]
HeaderName = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9-]{1,64}$"), AfterValidator(_header_name)]
HeaderText = Annotated[StrictStr, Field(pattern=r"^[\x21-\x7e]([\x20-\x7e]{0,254}[\x21-\x7e])?$")]


class Model(BaseModel):
    """A body in which unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class SpilloverDefinition(Model):
    """The deployment of the same resource to which Azure itself sends what a provisioned one cannot take."""

    deployment: Name
    sku: Name
    model: Name
    model_version: Text = ""
    region: Text = ""
    zone: Text = ""


class BackendDefinition(Model):
    """One Azure OpenAI resource and deployment, or another server with OpenAI's API. A weight of 0 drains it.

    `headers` are sent with every request and are no place for secrets.
    """

    endpoint: Annotated[StrictStr, Field(min_length=1, max_length=256)]
    upstream_deployment: Name
    model: Name
    region: Name
    model_version: Text = ""
    api_version: Annotated[StrictStr, Field(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] = ""
    sku: Name = "Standard"
    zone: Text = ""
    priority: Annotated[StrictInt, Field(ge=0, le=1000)] = 1
    weight: Annotated[StrictInt, Field(ge=0, le=1000)] = 1
    auth: BackendAuth = BackendAuth.MANAGED_IDENTITY
    secret_name: Annotated[StrictStr, Field(max_length=127, pattern=r"^[0-9A-Za-z-]*$")] = ""
    token_scope: Name = "https://cognitiveservices.azure.com/.default"
    authority: Text = ""
    api: BackendApi = BackendApi.AZURE
    headers: Annotated[dict[HeaderName, HeaderText], Field(max_length=_MAX_HEADERS)] = {}
    max_concurrent_requests: Annotated[StrictInt, Field(ge=1, le=100_000)] | None = None
    spillover_deployment: SpilloverDefinition | None = None

    def to_domain(self, backend_id: str) -> Backend:
        """Return the backend of this id."""
        stated = self.spillover_deployment
        spillover = None if stated is None else Spillover(**stated.model_dump())
        fields = self.model_dump(exclude={"spillover_deployment"})
        return Backend(backend_id=backend_id, spillover_deployment=spillover, **fields)


class DeploymentDefinition(Model):
    """The pool behind a public name. Caps and sampling are sent upstream where the caller sets none and the model takes
    them; `system_prompt` is put before what every caller sends."""

    backends: Pool
    fallbacks: Annotated[list[Name], Field(max_length=MAX_POOL)] = []
    hedge_after_ms: Annotated[StrictInt, Field(ge=1, le=600_000)] | None = None
    max_output_tokens: Annotated[StrictInt, Field(ge=1, le=MAX_PERIOD_TOKENS)] | None = None
    reserve_output_tokens: Annotated[StrictInt, Field(ge=1, le=MAX_PERIOD_TOKENS)] = 4096
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    system_prompt: Annotated[StrictStr, Field(max_length=16_384)] = ""

    def to_domain(self, name: str) -> Deployment:
        """Return the deployment of this name."""
        fields = self.model_dump() | {"backends": tuple(self.backends), "fallbacks": tuple(self.fallbacks)}
        return Deployment(name=name, **fields)
