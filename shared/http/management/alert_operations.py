"""The rows of the operations of alerts. `operation_table.py` is the table of all operations."""

from __future__ import annotations

from typing import Final

from shared.domain.identity.role import ADMINISTRATION, ALERTS
from shared.http.management.alert_models import AlertTest, SinkDefinition
from shared.http.operation import Operation

_PLATFORM: Final = "/manage/alerts"
_TENANT: Final = "/manage/tenants/{tenant}/alerts"
_WEBHOOK: Final = {
    "type": "webhook",
    "address_secret": "ops-webhook-address",
    "signing_secret": "ops-webhook-key",
    "minimum_severity": "warning",
}
_TEAMS: Final = {
    "type": "teams",
    "address_secret": "blue-team-workflow",
    "kinds": ["budget.threshold", "quota.threshold", "forecast.exceeds_limit"],
}


def _of_owner(
    path: str, owner: str, example: dict[str, object], readers: tuple[Operation, ...]
) -> tuple[Operation, ...]:
    """Return the rows of the sinks below a path."""
    sink = f"{path}/sinks/{{sink}}"
    return (
        *readers,
        Operation(
            method="PUT",
            path=sink,
            summary=f"Insert or replace a sink of {owner}",
            roles=ADMINISTRATION,
            body=SinkDefinition,
            example=example,
            takes_if_match=True,
        ),
        Operation(
            method="DELETE",
            path=sink,
            summary=f"Remove a sink of {owner}",
            roles=ADMINISTRATION,
            takes_if_match=True,
            success=204,
        ),
        Operation(
            method="POST",
            path=f"{sink}/redeliver",
            summary="Try the alerts again that could not be delivered to it",
            roles=ADMINISTRATION,
        ),
    )


ALERT_OPERATIONS: Final = (
    *_of_owner(
        _PLATFORM,
        "the platform",
        {**_WEBHOOK},
        (
            Operation(
                method="GET",
                path=_PLATFORM,
                summary="Alerts about the platform, newest first",
                roles=ADMINISTRATION,
                query=("limit",),
            ),
            Operation(
                method="GET", path=f"{_PLATFORM}/sinks", summary="List the platform's sinks", roles=ADMINISTRATION
            ),
            Operation(
                method="GET", path=f"{_PLATFORM}/sinks/{{sink}}", summary="Get one of them", roles=ADMINISTRATION
            ),
        ),
    ),
    Operation(
        method="POST",
        path=f"{_PLATFORM}/test",
        summary="Send a test to sinks now, and tell which of them took it",
        roles=ADMINISTRATION,
        body=AlertTest,
        example={"sink": "ops"},
    ),
    *_of_owner(
        _TENANT,
        "a tenant",
        {**_TEAMS},
        (
            Operation(
                method="GET",
                path=_TENANT,
                summary="Alerts about a tenant, newest first",
                roles=ALERTS,
                query=("limit",),
            ),
            Operation(method="GET", path=f"{_TENANT}/sinks", summary="List a tenant's sinks", roles=ALERTS),
            Operation(method="GET", path=f"{_TENANT}/sinks/{{sink}}", summary="Get one of them", roles=ALERTS),
        ),
    ),
)
