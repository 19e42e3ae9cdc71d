"""Book what an answer says was consumed, and tell which answers another backend may better."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Final, Protocol

from shared.application.inference.incoming_call import Inquiry
from shared.application.inference.metered_attempt import MeteredAttempt
from shared.application.ports.inference import UpstreamResponse
from shared.application.routing.backend_slot import retry_after
from shared.domain.content_filter import ContentFilterPolicy, noted, refused_categories
from shared.domain.errors import (
    BackendBroken,
    BackendFailed,
    BackendTimeout,
    BackendUnavailable,
    ContentFiltered,
    OperationNotFound,
)
from shared.domain.ledger.balance import Balance


class Booking(Protocol):
    """Books an attempt that failed."""

    def __call__(self, *, superseded: bool) -> Coroutine[object, object, Balance]:
        """`superseded` says whether another attempt follows it."""
        ...


_REFUSED_FOR_NOW: Final = frozenset({429, 503})
_FAILURES: Final = frozenset({401, 403, 408, 429})
_NO_SUCH_DEPLOYMENT: Final = (b"DeploymentNotFound", b"model_not_found", b"NotFoundError")
"""As Azure, OpenAI, and vLLM say it."""
_NO_SUCH_PATH: Final = (b'"404"', b"Resource not found")
_SHOWN_CHARACTERS: Final = 40


class AttemptFailed(Exception):
    """Nothing went to the caller, and another backend may serve the request. `book` has not been called."""

    def __init__(self, error: BackendFailed, book: Booking) -> None:
        super().__init__(str(error))
        self.error = error
        self.book = book


def unanswered(error: BackendFailed, attempt: MeteredAttempt) -> AttemptFailed:
    """No answer, or none that can be read. What may have been processed is charged for its input."""
    match error:
        case BackendTimeout():
            return AttemptFailed(error, partial(attempt.charge_input, 504, "backend_timeout"))
        case BackendBroken():
            return AttemptFailed(error, partial(attempt.charge_input, 502, "backend_error"))
        case _:
            return AttemptFailed(error, partial(attempt.void, 503, "no_backend_available"))


def refusal_of(response: UpstreamResponse, body: bytes) -> BackendFailed | None:
    """Why an answer other than 200 is the backend's failure; `None` where it tells the caller of its own."""
    status = response.status
    if status in _REFUSED_FOR_NOW:
        seconds = retry_after(response.headers)
        return BackendUnavailable(
            "Every backend of the deployment is busy. Retry later.", 1.0 if seconds is None else seconds
        )
    if status == 408:
        return BackendTimeout("The backend gave up waiting for the request.")
    if is_failure(status) or lacks_deployment(status, body):
        return BackendBroken(f"The backend refused the gateway's request with status {status}.")
    return None


def is_failure(status: int) -> bool:
    """Whether another backend may answer otherwise."""
    return status >= 500 or status in _FAILURES


def lacks_deployment(status: int, body: bytes) -> bool:
    """Whether the backend does not have the deployment that is configured."""
    return status == 404 and any(code in body for code in _NO_SUCH_DEPLOYMENT)


def knows_no_path(status: int, body: bytes) -> bool:
    """Whether the backend does not know the path of the request: its endpoint is wrong, or the api-version is.

    Azure says so in its own words, others with no error of the API's kind.
    """
    return status == 404 and (b'"error"' not in body or any(mark in body for mark in _NO_SUCH_PATH))


async def book_refusal(inquiry: Inquiry, response: UpstreamResponse, body: bytes, attempt: MeteredAttempt) -> Balance:
    """Book an answer other than 200 that the caller should see. Raises `AttemptFailed` for any other."""
    status = response.status
    filtered = inquiry.wire.filtered_prompt(status, body)
    if filtered is not None:
        return await attempt.charge_input(status, "content_filter", findings=filtered)
    error = refusal_of(response, body)
    if error is None and knows_no_path(status, body):
        version = inquiry.call.api_version[:_SHOWN_CHARACTERS]
        stated = f" with the api-version '{version}'" if version else ""
        error = OperationNotFound(f"Resource not found: no backend of the deployment knows this operation{stated}.")
    if error is not None:
        raise AttemptFailed(error, partial(attempt.void, status, f"upstream_{status}"))
    return await attempt.void(status, f"upstream_{status}")


async def book_completion(inquiry: Inquiry, body: bytes, attempt: MeteredAttempt) -> tuple[Balance | None, str]:
    """Settle an answer, unless upstream still works on it; the balance after it, and its findings where the tenant
    wants them named.

    Raises `AttemptFailed` if it cannot be read, and `ContentFiltered` if the tenant does not want it.
    """
    tenant = inquiry.tenant
    try:
        completion = inquiry.wire.read_completion(inquiry.request, body)
    except BackendBroken as error:
        raise unanswered(error, attempt) from error
    if completion.is_running and attempt.is_background:
        await attempt.defer(completion.response_id)
        return None, ""
    policy, refused = tenant.content_filter_policy, list[str]()
    if completion.findings and policy is ContentFilterPolicy.BLOCK:
        refused = refused_categories(completion.findings, tenant.content_filter_threshold)
    balance = await attempt.charge(
        completion.usage,
        units=completion.units,
        texts=completion.texts,
        status=400 if refused else 200,
        error_code="content_filter" if refused else "",
        findings=completion.findings,
        service_tier=completion.service_tier,
        response_id=completion.response_id,
    )
    if refused:
        raise ContentFiltered(refused)
    return balance, noted(completion.findings) if policy is ContentFilterPolicy.ANNOTATE else ""
