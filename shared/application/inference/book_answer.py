"""Book an answer: settle what it consumed, or say that another backend may do better."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Protocol

from shared.application.inference.metered_attempt import MeteredAttempt
from shared.application.inference.resolved_request import ResolvedRequest
from shared.domain.content_filter import ContentFilterPolicy, findings_text, refused_categories
from shared.domain.errors import BackendBroken, BackendFailed, BackendTimeout, ContentFiltered
from shared.domain.inference.parsed_body import Completion, Replacement
from shared.domain.ledger.balance import Balance
from shared.domain.routing.answer import Answer
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import fact


class Booking(Protocol):
    """Books an attempt that failed."""

    def __call__(self, *, superseded: bool) -> Coroutine[object, object, Balance]:
        """Settle the attempt. `superseded` says that another attempt at the same request follows or has won."""
        ...


class AttemptFailed(Exception):
    """The client has received nothing, and another backend may serve the request. `book` was not called yet."""

    def __init__(self, error: BackendFailed, attempt: MeteredAttempt, reason: str, book: Booking) -> None:
        """`reason` is the code by which the attempt is booked."""
        super().__init__(str(error))
        self.error = error
        self.attempt = attempt
        self.reason = reason
        self.book = book


def unanswered(error: BackendFailed, attempt: MeteredAttempt) -> AttemptFailed:
    """Say how to book an attempt without a usable answer: its input is charged if it may have been processed."""
    match error:
        case BackendTimeout():
            reason, book = "backend_timeout", partial(attempt.charge_input, 504, "backend_timeout")
        case BackendBroken():
            reason, book = "backend_error", partial(attempt.charge_input, 502, "backend_error")
        case _:
            reason, book = "no_backend_available", partial(attempt.void, 503, "no_backend_available")
    return AttemptFailed(error, attempt, reason, book)


async def book_refusal(answer: Answer, attempt: MeteredAttempt) -> Balance:
    """Book an answer other than 200. Upstream bills only the input of a prompt that its content filter refused.

    Raises `AttemptFailed` if another backend may do better.
    """
    if answer.findings is not None:
        return await attempt.charge_input(answer.status, "content_filter", findings=answer.findings)
    reason = f"upstream_{answer.status}"
    void = partial(attempt.void, answer.status, reason)
    if answer.error is not None:
        raise AttemptFailed(answer.error, attempt, reason, void)
    return await void()


@fact
class Booked:
    """An answer that was booked, and what the caller gets beside it."""

    balance: Balance | None
    """`None` if upstream still works on the response: a timer settles it later."""
    annotation: str = ""
    """The findings to name in a header."""
    replacement: Replacement | None = None


async def book_completion(request: ResolvedRequest, body: bytes, attempt: MeteredAttempt) -> Booked:
    """Settle a completed answer.

    Raises `AttemptFailed` if the answer cannot be read, and `ContentFiltered` if the tenant blocks its findings.
    """
    try:
        completion = request.format.read_completion(request.body, body)
    except BackendBroken as error:
        raise unanswered(error, attempt) from error
    if completion.is_running:  # whatever the request says: upstream may have read it otherwise
        await attempt.defer(completion.response_id)
        return Booked(balance=None)
    refused = _refused(completion, request.tenant)
    balance = await attempt.charge(
        completion.usage,
        at_least=completion.at_least,
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
    is_annotated = request.tenant.content_filter_policy is ContentFilterPolicy.ANNOTATE
    annotation = findings_text(completion.findings) if is_annotated else ""
    return Booked(balance=balance, annotation=annotation, replacement=completion.replacement)


def _refused(completion: Completion, tenant: Tenant) -> list[str]:
    """List the categories for which the tenant blocks this answer."""
    if completion.findings and tenant.content_filter_policy is ContentFilterPolicy.BLOCK:
        return refused_categories(completion.findings, tenant.content_filter_threshold)
    return []
