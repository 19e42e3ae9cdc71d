"""One operation of the API: the row that declares it. `operation_table.py` is the table of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import BaseModel

from shared.adapters.azure_openai.formats.all_formats import FORMATS
from shared.domain.identity.role import INFERENCE, OPEN, OPERATOR_ROLES, Roles
from shared.domain.routing.paths import V1
from shared.domain.values import record

JSON: Final = "application/json"
MULTIPART: Final = "multipart/form-data"
API_VERSION: Final = ("api-version",)


@record
class Operation:
    """One route: its method and path, its effect, the roles that permit it, and the request that it accepts."""

    method: str
    path: str
    summary: str
    roles: Roles
    """A caller with one of these roles may call it. There is no operation without roles."""
    body: type[BaseModel] | None = None
    """The model that validates the body; `None` where the body is a backend's to judge, or where there is none."""
    example: Mapping[str, Any] | None = None
    """A body that works; `None` where the operation takes no body."""
    required: tuple[str, ...] = ()
    """The fields that a body without a model must have."""
    content_type: str = JSON
    query: tuple[str, ...] = ()
    takes_if_match: bool = False
    success: int = 200
    repeated: int | None = None
    """The status of a request that changes nothing, because its object is stored already; `None` if it is `success`."""

    def __post_init__(self) -> None:
        if not self.roles:
            raise ValueError(f"{self.method} {self.path} names no role.")

    @property
    def is_open(self) -> bool:
        """The operation needs no credential."""
        return self.roles == OPEN

    @property
    def acts_for_tenant(self) -> bool:
        """Only callers that act for a tenant may call the operation. A header can name the tenant."""
        return OPERATOR_ROLES.isdisjoint(self.roles) and not self.is_open


@record
class InferenceOperation:
    """One operation of the inference API, for tenants, on the dated path and on the v1 path."""

    path: str
    """The path behind the deployment or behind `/openai/v1`: the name of its format."""
    summary: str
    model: str
    """The deployment that the example names."""
    example: Mapping[str, Any]
    """A body that works, without `model`."""
    required: tuple[str, ...]
    """The fields that a body must have, without `model`."""
    is_below_deployment: bool = True
    """False if the body's `model` names the deployment on the dated path, too."""

    @property
    def operations(self) -> tuple[Operation, Operation]:
        """The rows of the dated path and of the v1 path."""
        v1 = Operation(
            method="POST",
            path=f"{V1}/{self.path}",
            summary=f"{self.summary}; `model` names the deployment",
            roles=INFERENCE,
            example={"model": self.model, **self.example},
            required=("model", *self.required),
            content_type=MULTIPART if FORMATS[self.path].is_multipart else JSON,
        )
        summary = f"{self.summary}, as Azure OpenAI has it"
        dated = replace(v1, path=f"/openai/{self.path}", summary=summary, query=API_VERSION)
        if self.is_below_deployment:
            path = f"/openai/deployments/{{deployment}}/{self.path}"
            dated = replace(dated, path=path, example=self.example, required=self.required)
        return dated, v1
