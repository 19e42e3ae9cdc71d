"""`/openapi.json`, generated from the models that validate requests.

To add a route, add it to `OPERATIONS` and to `function_app.py`; a test compares the two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from shared.http import examples
from shared.http.endpoint import json_response
from shared.http.management import models

_REFERENCE = "#/components/schemas/{model}"
_ADMINISTRATOR, _TENANT, _NOBODY = "administrator", "tenant", ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One route: its method, path, what it does, who may call it and what it takes."""

    method: str
    path: str
    summary: str
    role: str = _ADMINISTRATOR
    body: type[BaseModel] | None = None
    query: tuple[str, ...] = ()
    success: int = 200
    inference: str = ""
    """The inference operation, for its body."""


OPERATIONS = (
    *(
        operation
        for path, summary in (
            ("chat/completions", "Chat completion"),
            ("completions", "Legacy completion"),
            ("embeddings", "Embeddings"),
            ("images/generations", "Images"),
            ("audio/transcriptions", "Transcription of sound"),
            ("audio/translations", "Transcription of sound in English"),
            ("audio/speech", "Speech"),
        )
        for operation in (
            Operation(
                "POST",
                f"/openai/deployments/{{deployment}}/{path}",
                f"{summary}, as Azure OpenAI has it",
                _TENANT,
                query=("api-version",),
                inference=path,
            ),
            Operation(
                "POST", f"/openai/v1/{path}", f"{summary}; `model` names the deployment", _TENANT, inference=path
            ),
        )
    ),
    *(
        operation
        for base, query in (("/openai", ("api-version",)), ("/openai/v1", ()))
        for operation in (
            Operation("POST", f"{base}/responses", "Create a response", _TENANT, query=query, inference="responses"),
            Operation("GET", f"{base}/responses/{{response}}", "Get a response of your own", _TENANT, query=query),
            Operation("DELETE", f"{base}/responses/{{response}}", "Delete a response", _TENANT, query=query),
            Operation("POST", f"{base}/responses/{{response}}/cancel", "Cancel a response", _TENANT, query=query),
            Operation("GET", f"{base}/responses/{{response}}/input_items", "List its input", _TENANT, query=query),
        )
    ),
    Operation("GET", "/openai/models", "The deployments this tenant may call", _TENANT, query=("api-version",)),
    Operation("GET", "/openai/v1/models", "The deployments this tenant may call", _TENANT),
    Operation("GET", "/openai/v1/models/{model}", "One of them", _TENANT),
    Operation("GET", "/manage/tenants", "List tenants", query=("limit", "cursor")),
    Operation("POST", "/manage/tenants", "Register a tenant", body=models.TenantRegistration, success=201),
    Operation("GET", "/manage/tenants/{tenant}", "Get a tenant"),
    Operation("PATCH", "/manage/tenants/{tenant}", "Change a tenant", body=models.TenantChange),
    Operation("DELETE", "/manage/tenants/{tenant}", "Close a tenant; its records stay"),
    Operation("POST", "/manage/tenants/{tenant}/suspend", "Suspend a tenant"),
    Operation("POST", "/manage/tenants/{tenant}/resume", "Resume a tenant"),
    Operation("GET", "/manage/tenants/{tenant}/keys", "List a tenant's keys"),
    Operation(
        "POST", "/manage/tenants/{tenant}/keys", "Create a key; it is shown once", body=models.KeyCreation, success=201
    ),
    Operation("DELETE", "/manage/tenants/{tenant}/keys/{key}", "Revoke a key", success=204),
    Operation("GET", "/manage/tenants/{tenant}/usage", "A tenant's usage", query=("period", "group_by")),
    Operation(
        "POST",
        "/manage/tenants/{tenant}/grants",
        "Grant tokens or dollars beyond a period's quota and budget",
        body=models.Grant,
        success=201,
    ),
    Operation(
        "GET",
        "/manage/tenants/{tenant}/entries",
        "A tenant's ledger entries, newest first",
        query=("period", "from", "to", "user", "limit", "cursor"),
    ),
    Operation("GET", "/manage/backends", "List backends and their health"),
    Operation("GET", "/manage/backends/{backend}", "Get a backend"),
    Operation("PUT", "/manage/backends/{backend}", "Insert or replace a backend", body=models.BackendDefinition),
    Operation("DELETE", "/manage/backends/{backend}", "Remove a backend that nothing names", success=204),
    Operation(
        "POST", "/manage/route", "Which backend would serve a request, and why no other", body=models.RouteQuestion
    ),
    Operation("GET", "/manage/deployments", "List deployments"),
    Operation("GET", "/manage/deployments/{deployment}", "Get a deployment"),
    Operation(
        "PUT", "/manage/deployments/{deployment}", "Insert or replace a deployment", body=models.DeploymentDefinition
    ),
    Operation("GET", "/manage/prices", "List prices"),
    Operation("POST", "/manage/prices", "Insert a price", body=models.PriceInsertion, success=201),
    Operation("GET", "/me", "The tenant of the calling key", _TENANT),
    Operation("GET", "/me/usage", "The calling tenant's usage", _TENANT, query=("period", "group_by")),
    Operation("GET", "/docs", "This reference, to read and to try", _NOBODY),
    Operation("GET", "/healthz", "Whether the process answers", _NOBODY),
    Operation("GET", "/readyz", "Whether requests can be served", _NOBODY),
    Operation("GET", "/openapi.json", "This document", _NOBODY),
)


async def openapi(request: Request) -> Response:  # noqa: ARG001 - a route
    """`GET /openapi.json`."""
    return json_response(document())


@cache
def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    bodies = sorted({operation.body for operation in OPERATIONS if operation.body}, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in bodies], ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    keys = {
        "api_key": {"type": "apiKey", "in": "header", "name": "api-key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tallygate", "version": "0.1.0", "description": "A metered gateway to Azure OpenAI."},
        "paths": paths,
        "components": {"schemas": schemas["$defs"] | {"Error": _ERROR}, "securitySchemes": keys},
    }


def _describe(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": re.sub(r"\W+", "_", f"{operation.method.lower()}{operation.path}").strip("_"),
        "parameters": [_parameter(name, "path") for name in re.findall(r"{(\w+)}", operation.path)]
        + [_parameter(name, "query") for name in operation.query],
        "responses": {
            str(operation.success): {"description": "Success"},
            "default": {
                "description": "An error in Azure OpenAI's shape",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
        "security": [{"api_key": []}, {"bearer": []}] if operation.role else [],
    }
    if operation.role:
        described["description"] = f"Role: {operation.role}."
    body = _body(operation)
    if body is not None:
        described["requestBody"] = {"required": True, "content": body}
    return described


def _body(operation: Operation) -> dict[str, Any] | None:
    """What a request's body may be, with one that works."""
    if operation.body is not None:
        name = operation.body.__name__
        schema: dict[str, Any] = {"$ref": f"#/components/schemas/{name}"}
        return {"application/json": {"schema": schema, "example": examples.MANAGEMENT[name]}}
    if not operation.inference:
        return None
    example = examples.INFERENCE[operation.inference]
    if operation.path.startswith("/openai/v1/"):
        example = {"model": examples.MODELS[operation.inference], **example}
    schema = {
        "type": "object",
        "required": [name for name in example if name in _REQUIRED],
        "additionalProperties": True,
    }
    if "file" not in example:
        return {"application/json": {"schema": schema, "example": example}}
    schema["properties"] = {"file": {"type": "string", "contentMediaType": "application/octet-stream"}}
    return {"multipart/form-data": {"schema": schema, "example": example}}


def _parameter(name: str, place: str) -> dict[str, Any]:
    is_required = place == "path" or name == "api-version"
    described = {"name": name, "in": place, "required": is_required, "schema": {"type": "string"}}
    return described | ({"example": examples.PARAMETERS[name]} if name in examples.PARAMETERS else {})


_REQUIRED = frozenset({"model", "messages", "prompt", "input", "file", "voice"})
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "description": "The gateway's own errors have all four; what upstream refuses passes as upstream says it.",
            "properties": {
                "code": {"type": ["string", "null"]},
                "message": {"type": "string"},
                "type": {"type": ["string", "null"]},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}
