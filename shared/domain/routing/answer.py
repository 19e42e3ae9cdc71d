"""Classify a backend's answer: one decision that feeds the circuit breaker, hedging, failover and the ledger."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Final, Protocol, TypeAlias

from shared.domain.errors import BackendBroken, BackendFailed, BackendTimeout, BackendUnavailable, OperationNotFound
from shared.domain.values import fact

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Names are in lower case."""
FilteredPrompt: TypeAlias = Callable[[int, bytes], frozenset[str] | None]
"""Reads the content filter's findings from a refused prompt; `None` if the answer is something else."""

_NO_SUCH_DEPLOYMENT: Final = (b"DeploymentNotFound", b"model_not_found", b"NotFoundError")
"""Error codes of Azure, OpenAI and vLLM."""
_NO_SUCH_PATH: Final = (b'"404"', b"Resource not found")
_SHOWN_CHARACTERS: Final = 40
_NUMBER: Final = re.compile(rb"\d+(\.\d+)?")
_LONGEST_RETRY_AFTER_SECONDS: Final = 86_400.0
_DEFAULT_RETRY_AFTER_SECONDS: Final = 1.0


class Meaning(Enum):
    """The meaning of an answer for the gateway."""

    COMPLETED = auto()
    """200, or another status of success: the request was served."""
    CALLER_ERROR = auto()
    """The caller's own mistake, or a refused prompt: the caller gets the answer as it is."""
    THROTTLED = auto()
    """The backend asks not to be called for some time."""
    FAILED = auto()
    """The backend could not serve: another one may."""
    MISCONFIGURED = auto()
    """The backend refuses the gateway, or lacks the deployment or the path: an operator must act."""
    UNKNOWN_VERSION = auto()
    """The backend does not know the path, in which the caller's api-version stands: either may be wrong."""
    UNDECIDED = auto()
    """The status alone does not tell: classify again with the body."""


class HeadOfAnswer(Protocol):
    """The status and headers of an answer."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Headers: ...


@fact
class Answer:
    """A classified answer. `error` is set where another backend may do better."""

    status: int
    meaning: Meaning
    error: BackendFailed | None = None
    retry_after_seconds: float | None = None
    findings: frozenset[str] | None = None
    """The content filter's findings in a prompt that it refused; else `None`."""


_COMPLETED: Final = Answer(status=200, meaning=Meaning.COMPLETED)


def classify(
    head: HeadOfAnswer,
    body: bytes | None = None,
    *,
    filtered_prompt: FilteredPrompt | None = None,
    caller_version: str = "",
) -> Answer:
    """Decide the meaning of an answer from its head, or from head and body.

    `caller_version` is the caller's api-version if the path of the request carries it. Without a body, a 404 is
    `UNDECIDED` and a refused prompt has no findings.
    """
    status = head.status
    if status == 200:
        return _COMPLETED
    if 201 <= status < 300:  # the caller gets such an answer, too, so it is charged
        return Answer(status=status, meaning=Meaning.COMPLETED)
    if status == 404:
        return _classify_404(body, caller_version)
    if status in (429, 503):
        return _classify_refusal_for_now(status, retry_after(head.headers))
    if status == 408:
        error = BackendTimeout("The backend gave up waiting for the request.")
        return Answer(status=status, meaning=Meaning.FAILED, error=error)
    if status >= 500:
        return Answer(status=status, meaning=Meaning.FAILED, error=_refused(status))
    if status in (401, 403):
        return Answer(status=status, meaning=Meaning.MISCONFIGURED, error=_refused(status))
    findings = None if filtered_prompt is None or body is None else filtered_prompt(status, body)
    return Answer(status=status, meaning=Meaning.CALLER_ERROR, findings=findings)


def _classify_refusal_for_now(status: int, seconds: float | None) -> Answer:
    """Classify 429 and 503. A 503 that does not say when to retry is a failure."""
    is_throttled = status == 429 or seconds is not None
    error = BackendUnavailable(
        "Every backend of the deployment is busy. Retry later.",
        _DEFAULT_RETRY_AFTER_SECONDS if seconds is None else seconds,
    )
    meaning = Meaning.THROTTLED if is_throttled else Meaning.FAILED
    return Answer(status=status, meaning=meaning, error=error, retry_after_seconds=seconds)


def _classify_404(body: bytes | None, caller_version: str) -> Answer:
    """Classify 404: a missing deployment, an unknown path, or the caller's own mistake.

    Azure states an unknown path in its own words. Other servers answer without an error object.
    """
    if body is None:
        return Answer(status=404, meaning=Meaning.UNDECIDED)
    if any(code in body for code in _NO_SUCH_DEPLOYMENT):
        return Answer(status=404, meaning=Meaning.MISCONFIGURED, error=_refused(404))
    if b'"error"' in body and not any(mark in body for mark in _NO_SUCH_PATH):
        return Answer(status=404, meaning=Meaning.CALLER_ERROR)
    meaning = Meaning.UNKNOWN_VERSION if caller_version else Meaning.MISCONFIGURED
    return Answer(status=404, meaning=meaning, error=_unknown_operation(caller_version))


def _refused(status: int) -> BackendBroken:
    return BackendBroken(f"The backend refused the gateway's request with status {status}.")


def _unknown_operation(caller_version: str) -> OperationNotFound:
    stated = f" with the api-version '{caller_version[:_SHOWN_CHARACTERS]}'" if caller_version else ""
    return OperationNotFound(f"Resource not found: no backend of the deployment knows this operation{stated}.")


def retry_after(headers: Headers) -> float | None:
    """Return the seconds until a backend accepts requests again, at most a day; `None` if it does not say.

    Reads `retry-after-ms`, else `retry-after`. A date counts from the backend's own `date` header:
    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    stated = dict(headers)
    for name, unit in ((b"retry-after-ms", 1000), (b"retry-after", 1)):
        text = stated.get(name, b"")
        if _NUMBER.fullmatch(text):
            return min(float(text) / unit, _LONGEST_RETRY_AFTER_SECONDS)
    if b"retry-after" not in stated:
        return None
    try:
        until, now = (
            parsedate_to_datetime(stated[name].decode("latin-1")).timestamp() for name in (b"retry-after", b"date")
        )
    except (ValueError, KeyError, OverflowError):
        return None
    return min(max(0.0, until - now), _LONGEST_RETRY_AFTER_SECONDS)
