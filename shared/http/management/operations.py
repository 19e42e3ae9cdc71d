"""The rows of the operations under `/manage`. `operation_table.py` is the table of all operations."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from shared import definitions
from shared.domain.identity.role import ADMINISTRATION, BILLING, ENTRIES, KEYS, OPERATION, USAGE, USERS
from shared.http.management import key_models, models, user_models
from shared.http.management.alert_operations import ALERT_OPERATIONS
from shared.http.management.audit_operations import AUDIT_OPERATIONS
from shared.http.management.price_model import PriceInsertion
from shared.http.operation import Operation

_TENANTS: Final = (
    Operation(
        method="GET",
        path="/manage/tenants",
        summary="List tenants",
        roles=ADMINISTRATION,
        query=("limit", "cursor"),
    ),
    Operation(
        method="POST",
        path="/manage/tenants",
        summary="Register a tenant",
        roles=ADMINISTRATION,
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
    Operation(method="GET", path="/manage/tenants/{tenant}", summary="Get a tenant", roles=ADMINISTRATION),
    Operation(
        method="PATCH",
        path="/manage/tenants/{tenant}",
        summary="Change a tenant",
        roles=ADMINISTRATION,
        body=models.TenantChange,
        example={"monthly_quota_tokens": 2_000_000, "reason": "approved by finance"},
        takes_if_match=True,
    ),
    Operation(
        method="DELETE",
        path="/manage/tenants/{tenant}",
        summary="Close a tenant; its records stay",
        roles=ADMINISTRATION,
        takes_if_match=True,
    ),
    Operation(
        method="POST",
        path="/manage/tenants/{tenant}/suspend",
        summary="Suspend a tenant",
        roles=ADMINISTRATION,
        takes_if_match=True,
    ),
    Operation(
        method="POST",
        path="/manage/tenants/{tenant}/resume",
        summary="Resume a tenant",
        roles=ADMINISTRATION,
        takes_if_match=True,
    ),
    Operation(method="GET", path="/manage/tenants/{tenant}/keys", summary="List a tenant's keys", roles=KEYS),
    Operation(
        method="POST",
        path="/manage/tenants/{tenant}/keys",
        summary="Create a key; it is shown once",
        roles=KEYS,
        body=key_models.KeyCreation,
        example={
            "label": "batch jobs",
            "owner": "ann@example.com",
            "expires_at": "2030-01-01T00:00:00Z",
            "deployments": ["gpt-4o"],
            "address_ranges": ["203.0.113.0/24"],
        },
        success=201,
    ),
    Operation(
        method="GET",
        path="/manage/tenants/{tenant}/keys/{key}",
        summary="Get a key, with its last use",
        roles=KEYS,
    ),
    Operation(
        method="PATCH",
        path="/manage/tenants/{tenant}/keys/{key}",
        summary="Change a key",
        roles=KEYS,
        body=key_models.KeyChange,
        example={"label": "nightly jobs", "owner": "bob@example.com"},
        takes_if_match=True,
    ),
    Operation(
        method="POST",
        path="/manage/tenants/{tenant}/keys/{key}/rotate",
        summary="Replace a key by a new one, which is shown once; the old one ends after an overlap",
        roles=KEYS,
        body=key_models.KeyRotation,
        example={"overlap_hours": 24},
        success=201,
    ),
    Operation(
        method="DELETE",
        path="/manage/tenants/{tenant}/keys/{key}",
        summary="Revoke a key",
        roles=KEYS,
        success=204,
    ),
    Operation(
        method="POST",
        path="/manage/tenants/{tenant}/users/lookup",
        summary="The alias of a user of a tenant with pseudonyms",
        roles=USERS,
        body=user_models.NamedUser,
        example={"user": "ann"},
    ),
    Operation(
        method="POST",
        path="/manage/tenants/{tenant}/users/erase",
        summary="Erase the link between a user and its alias; entries stay",
        roles=USERS,
        body=user_models.UserErasure,
        example={"user": "ann", "reason": "request 4711"},
        success=204,
    ),
    Operation(
        method="GET",
        path="/manage/tenants/{tenant}/usage",
        summary="A tenant's usage",
        roles=USAGE,
        query=("period", "group_by"),
    ),
    Operation(
        method="POST",
        path="/manage/tenants/{tenant}/grants",
        summary="Grant tokens or dollars beyond a period's quota and budget",
        roles=ADMINISTRATION,
        body=models.Grant,
        example={"tokens": 100_000, "reason": "launch week", "grant_id": "launch-1"},
        success=201,
    ),
    Operation(
        method="GET",
        path="/manage/tenants/{tenant}/entries",
        summary="A tenant's ledger entries, newest first",
        roles=ENTRIES,
        query=("period", "from", "to", "user", "application", "limit", "cursor"),
    ),
    Operation(
        method="GET",
        path="/manage/tenants/{tenant}/entries/{rid}/proof",
        summary="A proof that an entry is anchored: to be checked with `tallygate verify-proof`",
        roles=ENTRIES,
        query=("period", "seq"),
    ),
)
_CATALOG: Final = (
    Operation(method="GET", path="/manage/backends", summary="List backends and their health", roles=ADMINISTRATION),
    Operation(method="GET", path="/manage/backends/{backend}", summary="Get a backend", roles=ADMINISTRATION),
    Operation(
        method="PUT",
        path="/manage/backends/{backend}",
        summary="Insert or replace a backend",
        roles=ADMINISTRATION,
        body=definitions.BackendDefinition,
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
        roles=ADMINISTRATION,
        success=204,
    ),
    Operation(
        method="POST",
        path="/manage/route",
        summary="Explain which backend would serve a request, and why no other",
        roles=ADMINISTRATION,
        body=models.RouteQuestion,
        example={"tenant_id": "blue-team", "deployment": "gpt-4o", "tokens": 1000},
    ),
    Operation(method="GET", path="/manage/deployments", summary="List deployments", roles=ADMINISTRATION),
    Operation(method="GET", path="/manage/deployments/{deployment}", summary="Get a deployment", roles=ADMINISTRATION),
    Operation(
        method="PUT",
        path="/manage/deployments/{deployment}",
        summary="Insert or replace a deployment",
        roles=ADMINISTRATION,
        body=definitions.DeploymentDefinition,
        example={"backends": ["se-gpt-4o"], "max_output_tokens": 4096},
    ),
    Operation(method="GET", path="/manage/prices", summary="List prices", roles=BILLING),
    Operation(
        method="POST",
        path="/manage/prices",
        summary="Insert a price",
        roles=ADMINISTRATION,
        body=PriceInsertion,
        example={
            "model": "gpt-4o",
            "meter": "input",
            "usd_per_million": "2.50",
            "effective_from": "2024-10-01T00:00:00Z",
            "source": "price sheet",
        },
        success=201,
        repeated=200,
    ),
)
_PERIODS: Final = (
    Operation(
        method="GET",
        path="/manage/periods",
        summary="List billing periods, their states, and the lanes that are not closed",
        roles=BILLING,
    ),
    Operation(
        method="POST",
        path="/manage/periods/{period}/close",
        summary="Close a period whose grace time is over",
        roles=ADMINISTRATION,
    ),
    Operation(
        method="POST",
        path="/manage/chargeback/{period}/export",
        summary="Close a period and write its statements",
        roles=ADMINISTRATION,
    ),
)


def _with_reason(operation: Operation) -> Operation:
    """Let a change take the reason for its audit event, unless its body has it."""
    is_change = operation.method != "GET" and operation.path != "/manage/route"
    has_reason = operation.body is not None and "reason" in operation.body.model_fields
    return replace(operation, query=(*operation.query, "reason")) if is_change and not has_reason else operation


_STATUS: Final = (
    Operation(
        method="GET",
        path="/manage/status",
        summary="The state of the gateway: checks, instances, timers, anchors, problems, and verifications, "
        "each with `coverage` (`whole`, `partial`, `none` or `unknown`), `covered` and `not_covered`",
        roles=OPERATION,
    ),
)

MANAGEMENT_OPERATIONS: Final = tuple(
    map(_with_reason, (*_TENANTS, *_CATALOG, *_PERIODS, *AUDIT_OPERATIONS, *_STATUS, *ALERT_OPERATIONS))
)
