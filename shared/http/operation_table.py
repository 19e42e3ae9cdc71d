"""The one table of operations, from which `/openapi.json` and its page follow. Tests compare it with the routes.

To add a route: its function in `function_app.py`, its handler, its row here.
To add an inference operation: its format, the format's name in `formats/all_formats.py`, its two functions in
`function_app.py`, its row in `INFERENCE_OPERATIONS`. A test sends the example of every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared.domain.routing.paths import V1
from shared.http.management import models
from shared.http.operation import API_VERSION, InferenceOperation, Operation, Role

INFERENCE_OPERATIONS: Final = (
    InferenceOperation(
        path="chat/completions",
        summary="Chat completion",
        model="gpt-4o",
        example={
            "messages": [{"role": "user", "content": "Hello!"}],
            "max_completion_tokens": 100,
            "user": "ann",
        },
        required=("messages",),
    ),
    InferenceOperation(
        path="completions",
        summary="Legacy completion",
        model="gpt-35-turbo-instruct",
        example={"prompt": "Once upon a time", "max_tokens": 20},
        required=("prompt",),
    ),
    InferenceOperation(
        path="embeddings",
        summary="Embeddings",
        model="text-embedding-3-small",
        example={"input": ["One text", "another"]},
        required=("input",),
    ),
    InferenceOperation(
        path="images/generations",
        summary="Images",
        model="dall-e-3",
        example={"prompt": "A fox in the snow", "size": "1024x1024", "quality": "standard"},
        required=("prompt",),
    ),
    InferenceOperation(
        path="audio/transcriptions",
        summary="Transcription of sound",
        model="whisper",
        example={"file": "(a file of sound)", "response_format": "json"},
        required=("file",),
    ),
    InferenceOperation(
        path="audio/translations",
        summary="Transcription of sound in English",
        model="whisper",
        example={"file": "(a file of sound)", "response_format": "json"},
        required=("file",),
    ),
    InferenceOperation(
        path="audio/speech",
        summary="Speech",
        model="tts-hd",
        example={"input": "Hello there", "voice": "alloy", "response_format": "mp3"},
        required=("input", "voice"),
    ),
    InferenceOperation(
        path="responses",
        summary="Response",
        model="gpt-4o",
        example={"input": "Hello!", "max_output_tokens": 100},
        required=("input",),
        is_below_deployment=False,
    ),
)
BELOW_DEPLOYMENT: Final = frozenset(row.path for row in INFERENCE_OPERATIONS if row.is_below_deployment)
_STORED_RESPONSES: Final = tuple(
    Operation(method=method, path=f"{base}/responses/{path}", summary=summary, role=Role.TENANT, query=query)
    for base, query in (("/openai", API_VERSION), (V1, ()))
    for method, path, summary in (
        ("GET", "{response}", "Get a response of your own"),
        ("DELETE", "{response}", "Delete a response"),
        ("POST", "{response}/cancel", "Cancel a response"),
        ("GET", "{response}/input_items", "List its input"),
    )
)
_MODELS: Final = (
    Operation(
        method="GET",
        path="/openai/models",
        summary="The deployments this tenant may call",
        role=Role.TENANT,
        query=API_VERSION,
    ),
    Operation(method="GET", path=f"{V1}/models", summary="The deployments this tenant may call", role=Role.TENANT),
    Operation(method="GET", path=f"{V1}/models/{{model}}", summary="One of them", role=Role.TENANT),
)
_TENANTS: Final = (
    Operation(
        method="GET",
        path="/manage/tenants",
        summary="List tenants",
        role=Role.ADMINISTRATOR,
        query=("limit", "cursor"),
    ),
    Operation(
        method="POST",
        path="/manage/tenants",
        summary="Register a tenant",
        role=Role.ADMINISTRATOR,
        body=models.TenantRegistration,
        example={
            "tenant_id": "blue-team",
            "name": "Blue team",
            "cost_center": "CC-1000",
            "deployments": ["gpt-4o"],
            "monthly_quota_tokens": 1_000_000,
            "monthly_budget_usd": "250.00",
            "residency": {"zones": ["eu"]},
        },
        success=201,
    ),
    Operation(method="GET", path="/manage/tenants/{tenant}", summary="Get a tenant", role=Role.ADMINISTRATOR),
    Operation(
        method="PATCH",
        path="/manage/tenants/{tenant}",
        summary="Change a tenant",
        role=Role.ADMINISTRATOR,
        body=models.TenantChange,
        example={"monthly_quota_tokens": 2_000_000, "reason": "approved by finance"},
    ),
    Operation(
        method="DELETE",
        path="/manage/tenants/{tenant}",
        summary="Close a tenant; its records stay",
        role=Role.ADMINISTRATOR,
    ),
    Operation(
        method="POST", path="/manage/tenants/{tenant}/suspend", summary="Suspend a tenant", role=Role.ADMINISTRATOR
    ),
    Operation(
        method="POST", path="/manage/tenants/{tenant}/resume", summary="Resume a tenant", role=Role.ADMINISTRATOR
    ),
    Operation(
        method="GET", path="/manage/tenants/{tenant}/keys", summary="List a tenant's keys", role=Role.ADMINISTRATOR
    ),
    Operation(
        method="POST",
        path="/manage/tenants/{tenant}/keys",
        summary="Create a key; it is shown once",
        role=Role.ADMINISTRATOR,
        body=models.KeyCreation,
        example={"expires_at": "2030-01-01T00:00:00Z"},
        success=201,
    ),
    Operation(
        method="DELETE",
        path="/manage/tenants/{tenant}/keys/{key}",
        summary="Revoke a key",
        role=Role.ADMINISTRATOR,
        success=204,
    ),
    Operation(
        method="GET",
        path="/manage/tenants/{tenant}/usage",
        summary="A tenant's usage",
        role=Role.ADMINISTRATOR,
        query=("period", "group_by"),
    ),
    Operation(
        method="POST",
        path="/manage/tenants/{tenant}/grants",
        summary="Grant tokens or dollars beyond a period's quota and budget",
        role=Role.ADMINISTRATOR,
        body=models.Grant,
        example={"tokens": 100_000, "reason": "launch week", "grant_id": "launch-1"},
        success=201,
    ),
    Operation(
        method="GET",
        path="/manage/tenants/{tenant}/entries",
        summary="A tenant's ledger entries, newest first",
        role=Role.ADMINISTRATOR,
        query=("period", "from", "to", "user", "limit", "cursor"),
    ),
)
_CATALOG: Final = (
    Operation(method="GET", path="/manage/backends", summary="List backends and their health", role=Role.ADMINISTRATOR),
    Operation(method="GET", path="/manage/backends/{backend}", summary="Get a backend", role=Role.ADMINISTRATOR),
    Operation(
        method="PUT",
        path="/manage/backends/{backend}",
        summary="Insert or replace a backend",
        role=Role.ADMINISTRATOR,
        body=models.BackendDefinition,
        example={
            "endpoint": "https://contoso.openai.azure.com",
            "upstream_deployment": "gpt-4o",
            "model": "gpt-4o",
            "region": "swedencentral",
            "zone": "eu",
            "sku": "DataZoneStandard",
        },
    ),
    Operation(
        method="DELETE",
        path="/manage/backends/{backend}",
        summary="Remove a backend that nothing names",
        role=Role.ADMINISTRATOR,
        success=204,
    ),
    Operation(
        method="POST",
        path="/manage/route",
        summary="Explain which backend would serve a request, and why no other",
        role=Role.ADMINISTRATOR,
        body=models.RouteQuestion,
        example={"tenant_id": "blue-team", "deployment": "gpt-4o", "tokens": 1000},
    ),
    Operation(method="GET", path="/manage/deployments", summary="List deployments", role=Role.ADMINISTRATOR),
    Operation(
        method="GET", path="/manage/deployments/{deployment}", summary="Get a deployment", role=Role.ADMINISTRATOR
    ),
    Operation(
        method="PUT",
        path="/manage/deployments/{deployment}",
        summary="Insert or replace a deployment",
        role=Role.ADMINISTRATOR,
        body=models.DeploymentDefinition,
        example={"backends": ["se-gpt-4o"], "max_output_tokens": 4096},
    ),
    Operation(method="GET", path="/manage/prices", summary="List prices", role=Role.ADMINISTRATOR),
    Operation(
        method="POST",
        path="/manage/prices",
        summary="Insert a price",
        role=Role.ADMINISTRATOR,
        body=models.PriceInsertion,
        example={
            "model": "gpt-4o",
            "meter": "input",
            "usd_per_million": "2.50",
            "effective_from": "2024-01-01T00:00:00Z",
            "source": "price sheet",
        },
        success=201,
    ),
)
_ME: Final = (
    Operation(method="GET", path="/me", summary="The tenant of the calling key", role=Role.TENANT),
    Operation(
        method="GET",
        path="/me/usage",
        summary="The calling tenant's usage",
        role=Role.TENANT,
        query=("period", "group_by"),
    ),
)
_SERVICE: Final = (
    Operation(method="GET", path="/docs", summary="This reference, to read and to try", role=Role.NOBODY),
    Operation(method="GET", path="/healthz", summary="Liveness: the process answers", role=Role.NOBODY),
    Operation(method="GET", path="/readyz", summary="Readiness: requests can be served", role=Role.NOBODY),
    Operation(method="GET", path="/openapi.json", summary="This document", role=Role.NOBODY),
)
OPERATIONS: Final = (
    *(operation for row in INFERENCE_OPERATIONS for operation in row.operations),
    *_STORED_RESPONSES,
    *_MODELS,
    *_TENANTS,
    *_CATALOG,
    *_ME,
    *_SERVICE,
)
PARAMETER_EXAMPLES: Final[Mapping[str, str]] = {
    "api-version": "2024-10-21",
    "deployment": "gpt-4o",
    "model": "gpt-4o",
    "tenant": "blue-team",
    "backend": "se-gpt-4o",
    "response": "resp_0123456789abcdef",
    "key": "blue-team-1a2b3c4d",
    "period": "2026-11",
    "group_by": "deployment,user,day",
    "from": "2026-11-01T00:00:00Z",
    "to": "2026-12-01T00:00:00Z",
    "limit": "100",
}
"""By name, for the parameters of paths and queries."""
