"""Errors as HTTP: the one table of statuses and codes, in the shape that Azure OpenAI and its SDKs use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec
from starlette.responses import Response

from shared.adapters.identity.credentials import IdentityUnavailable
from shared.adapters.tables.archive import PeriodMoves
from shared.adapters.tables.archive_file import ArchiveDamaged
from shared.application.audit.anchor_heads import ChainDamaged
from shared.application.audit.anchor_log import AnchorsBehind, AnchorsDamaged
from shared.application.billing.build_statement import FileDamaged, PeriodStillOpen
from shared.application.billing.export_chargeback import LanesNotExported
from shared.application.evidence.prove_entry import EntryNotProvable, NotAnchoredYet
from shared.application.evidence.read_documents import DocumentsMove
from shared.application.ledger.close_period import PeriodNotOver
from shared.application.ledger.roll_up_usage import EntriesMissing
from shared.application.ports.alerts import SinkFailed
from shared.application.ports.anchors import SigningUnavailable
from shared.application.sweep import SweepFailed
from shared.domain import errors
from shared.domain.ledger.operations import InsufficientAvailable, LaneLeased, ReservationsOpen
from shared.domain.pricing.damaged_price import PricesDamaged
from shared.domain.rate_limit import LimitStatus

STATUSES: Final[Mapping[type[errors.GatewayError], tuple[int, str]]] = {
    errors.InvalidRequest: (400, "invalid_request"),
    errors.ContentFiltered: (400, "content_filter"),
    errors.InvalidApiKey: (401, "invalid_api_key"),
    errors.KeyUsedElsewhere: (401, "invalid_api_key"),
    errors.InvalidToken: (401, "invalid_token"),
    errors.TenantSuspended: (403, "tenant_suspended"),
    errors.InsufficientRole: (403, "insufficient_role"),
    errors.AddressNotAllowed: (403, "address_not_allowed"),
    errors.ResidencyViolation: (403, "residency_violation"),
    errors.DeploymentNotFound: (404, "DeploymentNotFound"),
    errors.ResponseNotFound: (404, "response_not_found"),
    errors.OperationNotFound: (404, "404"),
    errors.NotFound: (404, "not_found"),
    errors.MethodNotAllowed: (405, "method_not_allowed"),
    errors.BodyTooSlow: (408, "request_timeout"),
    errors.ResponseRunning: (409, "response_running"),
    errors.AlreadyExists: (409, "already_exists"),
    errors.KeyEnded: (409, "key_ended"),
    errors.KeyReplaced: (409, "key_replaced"),
    errors.PriceContradicted: (409, "price_contradicted"),
    NotAnchoredYet: (409, "not_anchored_yet"),
    EntryNotProvable: (409, "entry_not_provable"),
    errors.PeriodNotOpen: (409, "period_not_open"),
    PeriodNotOver: (409, "period_not_over"),
    SweepFailed: (409, "period_not_closed"),
    PeriodStillOpen: (409, "period_not_closed"),
    FileDamaged: (409, "file_damaged"),
    errors.VersionConflict: (412, "version_conflict"),
    errors.RequestTooLarge: (413, "request_too_large"),
    errors.UnpricedModel: (424, "unpriced_model"),
    PricesDamaged: (424, "unpriced_model"),
    errors.QuotaExceeded: (429, "quota_exceeded"),
    errors.BudgetExceeded: (429, "budget_exceeded"),
    errors.RateLimitExceeded: (429, "rate_limit_exceeded"),
    errors.BackendBroken: (502, "backend_error"),
    errors.AnswerTooLarge: (502, "backend_error"),
    errors.BodiesTooLarge: (503, "overloaded"),
    errors.BackendUnavailable: (503, "no_backend_available"),
    errors.ClientDisconnected: (503, "no_backend_available"),
    errors.LedgerUnavailable: (503, "ledger_unavailable"),
    errors.RowsDamaged: (503, "ledger_unavailable"),
    errors.TenantsDamaged: (503, "ledger_unavailable"),
    errors.StorageUnavailable: (503, "ledger_unavailable"),
    IdentityUnavailable: (503, "ledger_unavailable"),
    errors.IdentityProviderUnavailable: (503, "identity_unavailable"),
    errors.SecretUnavailable: (503, "secret_unavailable"),
    errors.BackendTimeout: (504, "backend_timeout"),
    errors.AnswerTooLong: (504, "backend_timeout"),
}
NEVER_ANSWERED: Final[Mapping[type[errors.GatewayError], str]] = {
    LanesNotExported: "only the timer that exports periods meets it",
    EntriesMissing: "only the timer that sums rollups meets it",
    ReservationsOpen: "only the timer that closes a period meets it",
    InsufficientAvailable: "the lane that wanted the tokens looks for others",
    LaneLeased: "the process that wanted the lane tries another one",
    ArchiveDamaged: "archives are restored from the command line",
    DocumentsMove: "evidence packages are written from the command line",
    PeriodMoves: "archives are written from the command line",
    AnchorsDamaged: "only the timer that anchors meets it",
    AnchorsBehind: "only the timer that anchors meets it",
    ChainDamaged: "only the timer that anchors meets it",
    SinkFailed: "only the timer that delivers alerts meets it, and a test of sinks tells it",
    SigningUnavailable: "only the timer that anchors and the command line meet it",
}
"""Errors that no caller gets, with the reason. If one escapes all the same, the answer is `INTERNAL_ERROR`."""
_FIXED_ADVICE: Final[Mapping[type[errors.GatewayError], Mapping[str, str]]] = {
    errors.InvalidApiKey: {"WWW-Authenticate": "Bearer"},
    errors.KeyUsedElsewhere: {"WWW-Authenticate": "Bearer"},
    errors.InvalidToken: {"WWW-Authenticate": 'Bearer error="invalid_token"'},
    errors.RequestTooLarge: {"Connection": "close"},  # else the server would read the rest of the body
    errors.BodyTooSlow: {"Connection": "close"},
    errors.OperationNotFound: {},
    errors.AnswerTooLarge: {"x-should-retry": "false"},
}
INTERNAL_ERROR: Final = (500, "internal_error")
MISCONFIGURED: Final = (503, "misconfigured")
LEDGER_RETRY_AFTER_SECONDS: Final = 5


def error_response(error: errors.GatewayError, request_id: str, now: datetime) -> Response:
    """Make the answer for an error. Messages never echo a credential, prompt or backend address.

    An error without a status gets `INTERNAL_ERROR`, without its message.
    """
    (status, code), message = status_of(error), str(error)
    if code == INTERNAL_ERROR[1]:
        message = "The gateway failed."
    body = _body(code, f"{message} (request id: {request_id})", _details(error))
    headers = {"x-gateway-request-id": request_id} | rate_headers(error.limit_status) | _advice(error, now)
    if error.attempts is not None:
        headers["x-gateway-attempts"] = str(error.attempts)
    return Response(body, status, headers, "application/json")


def status_of(error: errors.GatewayError) -> tuple[int, str]:
    """Return the status and the code of an error."""
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), INTERNAL_ERROR)


def internal_error_response(request_id: str) -> Response:
    """Make the answer of a gateway that failed by a defect. Its log names it; the caller must not see it."""
    status, code = INTERNAL_ERROR
    body = _body(code, f"The gateway failed. (request id: {request_id})", {})
    return Response(body, status, {"x-gateway-request-id": request_id}, "application/json")


def misconfigured_response(problems: str, request_id: str) -> Response:
    """Make the answer of a gateway whose settings are wrong. `problems` name the settings, and show no value."""
    status, code = MISCONFIGURED
    body = _body(code, f"The gateway is misconfigured: {problems}. (request id: {request_id})", {})
    headers = {"x-gateway-request-id": request_id, "x-should-retry": "false"}
    return Response(body, status, headers, "application/json")


def _body(code: str, message: str, details: Mapping[str, object]) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "message": message, "type": code, "param": None, **details}})


def _details(error: errors.GatewayError) -> dict[str, object]:
    """Return the field that is wrong, and the further fields with which Azure explains a filtered prompt."""
    if isinstance(error, errors.InvalidRequest):
        return {"param": error.param}
    if not isinstance(error, errors.ContentFiltered):
        return {}
    results = {category: {"filtered": True} for category in error.categories}
    return {
        "param": "prompt",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": results},
    }


def rate_headers(statuses: Iterable[LimitStatus]) -> dict[str, str]:
    """Return the headers `x-ratelimit-*` of the tenant, with durations as OpenAI writes them."""
    return {
        f"x-ratelimit-{name}-{status.unit}": text
        for status in statuses
        for name, text in (
            ("limit", str(status.limit)),
            ("remaining", str(status.remaining)),
            ("reset", f"{math.ceil(status.reset_seconds * 1000) / 1000:g}s"),
        )
    }


def _advice(error: errors.GatewayError, now: datetime) -> dict[str, str]:
    """Return the headers that tell callers when to retry, how to authenticate, and which methods a path has."""
    fixed = _FIXED_ADVICE.get(type(error))
    if fixed is not None:
        return dict(fixed)
    match error:
        case errors.MethodNotAllowed():
            return {"Allow": ", ".join(error.allowed)}
        case errors.PeriodExhausted():
            seconds = max(1, math.ceil((error.retry_at - now).total_seconds()))
            return {"Retry-After": str(seconds), "x-should-retry": "false"}
        case (
            errors.BackendFailed()
            | errors.RateLimitExceeded()
            | errors.BodiesTooLarge()
            | errors.IdentityProviderUnavailable()
            | errors.SecretUnavailable()
        ) if error.retry_after_seconds is not None:
            milliseconds = max(1, math.ceil(error.retry_after_seconds * 1000))
            return {"Retry-After": str(math.ceil(milliseconds / 1000)), "retry-after-ms": str(milliseconds)}
        case errors.StorageUnavailable():
            return {"Retry-After": str(LEDGER_RETRY_AFTER_SECONDS)}
        case _:
            return {}
