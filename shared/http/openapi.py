"""`/reference/openapi.json`: renders the table of operations, with the models that validate requests."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from shared.application.tenancy.memberships import TENANT_HEADER
from shared.http.endpoint import json_response
from shared.http.operation import API_VERSION, MULTIPART, Operation
from shared.http.operation_table import OPERATIONS, PARAMETER_EXAMPLES
from shared.version import VERSION

_SCHEMA: Final = "#/components/schemas/{model}"
_FILE: Final = {"file": {"type": "string", "contentMediaType": "application/octet-stream"}}
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


async def openapi(request: Request) -> Response:  # noqa: ARG001 - a route
    """Serve `GET /reference/openapi.json`."""
    return json_response(document())


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    bodies = sorted({operation.body for operation in OPERATIONS if operation.body}, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in bodies], ref_template=_SCHEMA)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    keys = {
        "api_key": {"type": "apiKey", "in": "header", "name": "api-key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tallygate", "version": VERSION, "description": "A metered gateway to Azure OpenAI."},
        "paths": paths,
        "components": {"schemas": schemas["$defs"] | {"Error": _ERROR}, "securitySchemes": keys},
    }


def _describe(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": re.sub(r"\W+", "_", f"{operation.method.lower()}{operation.path}").strip("_"),
        "parameters": [_parameter(name, "path") for name in re.findall(r"{(\w+)}", operation.path)]
        + [_parameter(name, "query") for name in operation.query]
        + ([_parameter(TENANT_HEADER, "header")] if operation.acts_for_tenant else []),
        "responses": {
            str(operation.success): {"description": "Success"},
            **({str(operation.repeated): {"description": "Stored already"}} if operation.repeated else {}),
            "default": {
                "description": "An error in Azure OpenAI's shape",
                "content": {"application/json": {"schema": {"$ref": _SCHEMA.format(model="Error")}}},
            },
        },
        "security": [] if operation.is_open else [{"api_key": []}, {"bearer": []}],
    }
    if not operation.is_open:
        described["description"] = f"Roles: {', '.join(operation.roles)}."
        described["x-roles"] = operation.roles
    if operation.example is not None:
        content = {"schema": _schema(operation), "example": operation.example}
        described["requestBody"] = {"required": True, "content": {operation.content_type: content}}
    return described


def _schema(operation: Operation) -> dict[str, Any]:
    """Refer to the body's model. A body without a model may have any fields beside those that it must have."""
    if operation.body is not None:
        return {"$ref": _SCHEMA.format(model=operation.body.__name__)}
    schema: dict[str, Any] = {"type": "object", "required": operation.required, "additionalProperties": True}
    return schema | ({"properties": _FILE} if operation.content_type == MULTIPART else {})


def _parameter(name: str, place: str) -> dict[str, Any]:
    is_required = place == "path" or name in API_VERSION
    described = {"name": name, "in": place, "required": is_required, "schema": {"type": "string"}}
    return described | ({"example": PARAMETER_EXAMPLES[name]} if name in PARAMETER_EXAMPLES else {})
