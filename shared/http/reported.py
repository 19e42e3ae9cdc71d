"""Report refused and failed requests to the log. Answers that callers get are made in `errors.py`."""

from __future__ import annotations

import logging
from hashlib import sha256
from typing import Final

from starlette.requests import Request

from shared.application.alerts.raise_alert import RaiseAlert
from shared.application.audit.count_refusals import CountRefusals, Refusal
from shared.application.structured_log import ERROR, MESSAGE, REQUEST, STATUS, TENANT, fields_of, log_event
from shared.domain.alerts.alert import AlertKind
from shared.domain.errors import GatewayError, InvalidApiKey, ResidencyViolation, UnpricedModel
from shared.domain.tenancy.lookup_budget import network_of
from shared.http.errors import INTERNAL_ERROR, status_of
from shared.http.measured import deployment_of
from shared.http.source import source_of

COUNTED: Final = frozenset({401, 403, 413, 424, 429})
"""The statuses of refusals. They are counted, because callers can cause any number of them."""
_BY_CONFIGURATION: Final = (UnpricedModel, ResidencyViolation)
"""Refusals that only the operator can end. Each has a line of its own, up to a number."""
_MAX_LINES: Final = 10
"""The most such lines for one tenant and reason in a minute."""
_TENANT: Final = "tallygate.tenant"
_KEY: Final = "tallygate.key"


def note_tenant(request: Request, tenant_id: str, key_id: str = "") -> None:
    """Note the tenant and the key of a request, so that a refusal is counted as theirs."""
    request.scope[_TENANT] = tenant_id
    request.scope[_KEY] = key_id


def report_error(
    refusals: CountRefusals, raise_alert: RaiseAlert, error: GatewayError, request: Request, trusted_proxy_hops: int
) -> None:
    """Count a refusal. Write a line for a failure and a refusal by configuration. A missing price raises an alert."""
    status, code = status_of(error)
    if isinstance(error, InvalidApiKey) and error.key_id:
        code = error.reason
        note_tenant(request, error.tenant_id, error.key_id)
    if status >= INTERNAL_ERROR[0]:
        report_failure(error, request, status, code)
    elif status in COUNTED:
        tenant_id = _tenant_of(request)
        is_tenant = tenant_id and not isinstance(error, InvalidApiKey)
        source = "" if is_tenant else network_of(source_of(request, trusted_proxy_hops))
        key_id = request.scope.get(_KEY, "")
        count = refusals(Refusal(reason=code, tenant_id=tenant_id, key_id=key_id, source=source))
        if isinstance(error, _BY_CONFIGURATION) and count <= _MAX_LINES:
            fields: dict[str, str | int] = {STATUS: status, ERROR: code, TENANT: tenant_id, MESSAGE: str(error)}
            log_event(logging.WARNING, "gateway.request.refused", fields)
        if isinstance(error, UnpricedModel):
            name, data = sha256(str(error).encode()).hexdigest()[:16], {"message": str(error), "asked_by": tenant_id}
            deployment = deployment_of(request)
            subject = f"deployments/{deployment}" if deployment else "prices"
            raise_alert.of_platform(AlertKind.MODEL_UNPRICED, name, subject, data, daily=True)


def report_failure(error: Exception, request: Request, status: int, code: str) -> None:
    """Write the line of a request that failed: its id, tenant, cause, and for a defect its place in the code."""
    level = logging.ERROR if status == INTERNAL_ERROR[0] else logging.WARNING
    fields: dict[str, str | int] = {STATUS: status, ERROR: code, TENANT: _tenant_of(request), **fields_of(error)}
    log_event(level, "gateway.request.failed", fields)


def report_broken_answer(error: Exception, request_id: str) -> None:
    """Write the line of an answer that broke off by a defect after it had begun."""
    status, code, *_ = INTERNAL_ERROR
    log_event(
        logging.ERROR, "gateway.request.failed", {REQUEST: request_id, STATUS: status, ERROR: code, **fields_of(error)}
    )


def _tenant_of(request: Request) -> str:
    tenant_id: str = request.scope.get(_TENANT, "")
    return tenant_id
