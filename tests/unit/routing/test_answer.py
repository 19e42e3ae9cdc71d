"""A backend's answer has one meaning for the circuit breaker, hedging, failover and the ledger."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from shared.domain.errors import (
    BackendBroken,
    BackendFailed,
    BackendTimeout,
    BackendUnavailable,
    OperationNotFound,
)
from shared.domain.routing.answer import Headers, Meaning, classify, retry_after

NONE: Headers = ()
RETRY_AFTER_2: Headers = ((b"retry-after", b"2"),)
RETRY_AFTER_1500_MS: Headers = ((b"retry-after-ms", b"1500"), (b"retry-after", b"2"))
DATE = (b"date", b"Wed, 21 Oct 2015 07:28:00 GMT")

NO_BODY = None
EMPTY = b""
HTML = b"<html>Not Found</html>"
AZURE_NO_DEPLOYMENT = b'{"error":{"code":"DeploymentNotFound","message":"The API deployment does not exist."}}'
OPENAI_NO_MODEL = b'{"error":{"message":"The model does not exist","code":"model_not_found"}}'
VLLM_NO_MODEL = b'{"object":"error","message":"The model does not exist.","type":"NotFoundError","code":404}'
AZURE_NO_PATH = b'{"error":{"code":"404","message":"Resource not found"}}'
AZURE_NO_PATH_CODE_ONLY = b'{"error":{"code":"404"}}'
AZURE_NO_PATH_TEXT_ONLY = b'{"error":{"message":"Resource not found"}}'
NO_SUCH_RESPONSE = b'{"error":{"code":"not_found","message":"Response resp_1 not found."}}'
BAD_REQUEST = b'{"error":{"code":"BadRequest"}}'
FILTERED = b'{"error":{"code":"content_filter"}}'


@dataclass(frozen=True)
class Head:
    """The head of a backend's answer."""

    status: int
    headers: Headers = NONE


def filtered_prompt(status: int, body: bytes) -> frozenset[str] | None:
    """Read findings as an inference format does."""
    return frozenset({"hate:high"}) if (status, body) == (400, FILTERED) else None


@pytest.mark.parametrize(
    ("status", "headers", "body", "caller_version", "meaning", "error"),
    [
        (200, NONE, NO_BODY, "", Meaning.COMPLETED, None),
        (200, RETRY_AFTER_2, AZURE_NO_DEPLOYMENT, "2024-10-21", Meaning.COMPLETED, None),
        (201, NONE, NO_BODY, "", Meaning.COMPLETED, None),
        (299, NONE, NO_BODY, "", Meaning.COMPLETED, None),
        (300, NONE, NO_BODY, "", Meaning.CALLER_ERROR, None),
        (302, NONE, NO_BODY, "", Meaning.CALLER_ERROR, None),
        (400, NONE, NO_BODY, "", Meaning.CALLER_ERROR, None),
        (400, NONE, BAD_REQUEST, "", Meaning.CALLER_ERROR, None),
        (400, RETRY_AFTER_2, FILTERED, "", Meaning.CALLER_ERROR, None),
        (401, NONE, NO_BODY, "", Meaning.MISCONFIGURED, BackendBroken),
        (403, NONE, BAD_REQUEST, "", Meaning.MISCONFIGURED, BackendBroken),
        (404, NONE, NO_BODY, "", Meaning.UNDECIDED, None),
        (404, NONE, NO_BODY, "2024-10-21", Meaning.UNDECIDED, None),
        (404, NONE, AZURE_NO_DEPLOYMENT, "", Meaning.MISCONFIGURED, BackendBroken),
        (404, NONE, AZURE_NO_DEPLOYMENT, "2024-10-21", Meaning.MISCONFIGURED, BackendBroken),
        (404, NONE, OPENAI_NO_MODEL, "", Meaning.MISCONFIGURED, BackendBroken),
        (404, NONE, VLLM_NO_MODEL, "", Meaning.MISCONFIGURED, BackendBroken),
        (404, NONE, AZURE_NO_PATH, "", Meaning.MISCONFIGURED, OperationNotFound),
        (404, NONE, AZURE_NO_PATH, "2024-10-21", Meaning.UNKNOWN_VERSION, OperationNotFound),
        (404, NONE, AZURE_NO_PATH_CODE_ONLY, "2024-10-21", Meaning.UNKNOWN_VERSION, OperationNotFound),
        (404, NONE, AZURE_NO_PATH_TEXT_ONLY, "2024-10-21", Meaning.UNKNOWN_VERSION, OperationNotFound),
        (404, NONE, HTML, "", Meaning.MISCONFIGURED, OperationNotFound),
        (404, NONE, HTML, "2024-10-21", Meaning.UNKNOWN_VERSION, OperationNotFound),
        (404, NONE, EMPTY, "", Meaning.MISCONFIGURED, OperationNotFound),
        (404, NONE, NO_SUCH_RESPONSE, "", Meaning.CALLER_ERROR, None),
        (404, NONE, NO_SUCH_RESPONSE, "2024-10-21", Meaning.CALLER_ERROR, None),
        (408, NONE, NO_BODY, "", Meaning.FAILED, BackendTimeout),
        (409, NONE, NO_BODY, "", Meaning.CALLER_ERROR, None),
        (413, NONE, NO_BODY, "", Meaning.CALLER_ERROR, None),
        (422, NONE, BAD_REQUEST, "", Meaning.CALLER_ERROR, None),
        (429, NONE, NO_BODY, "", Meaning.THROTTLED, BackendUnavailable),
        (429, RETRY_AFTER_2, BAD_REQUEST, "2024-10-21", Meaning.THROTTLED, BackendUnavailable),
        (499, NONE, NO_BODY, "", Meaning.CALLER_ERROR, None),
        (500, RETRY_AFTER_2, NO_BODY, "", Meaning.FAILED, BackendBroken),
        (502, NONE, HTML, "", Meaning.FAILED, BackendBroken),
        (503, NONE, NO_BODY, "", Meaning.FAILED, BackendUnavailable),
        (503, RETRY_AFTER_2, NO_BODY, "", Meaning.THROTTLED, BackendUnavailable),
        (504, NONE, NO_BODY, "", Meaning.FAILED, BackendBroken),
        (599, NONE, NO_BODY, "", Meaning.FAILED, BackendBroken),
    ],
)
def test_an_answer_has_one_meaning(
    status: int,
    headers: Headers,
    body: bytes | None,
    caller_version: str,
    meaning: Meaning,
    error: type[BackendFailed] | None,
) -> None:
    answer = classify(Head(status, headers), body, filtered_prompt=filtered_prompt, caller_version=caller_version)
    assert (answer.status, answer.meaning) == (status, meaning)
    assert (None if answer.error is None else type(answer.error)) is error


@pytest.mark.parametrize(
    ("status", "headers", "stated", "told"),
    [
        (429, RETRY_AFTER_1500_MS, 1.5, 1.5),
        (429, RETRY_AFTER_2, 2, 2),
        (429, NONE, None, 1),
        (503, RETRY_AFTER_2, 2, 2),
        (503, NONE, None, 1),
        (500, RETRY_AFTER_2, None, None),
    ],
)
def test_the_caller_is_told_to_retry_when_the_backend_says_or_after_a_second(
    status: int, headers: Headers, stated: float | None, told: float | None
) -> None:
    answer = classify(Head(status, headers))
    assert answer.error is not None
    assert (answer.retry_after_seconds, answer.error.retry_after_seconds) == (stated, told)


@pytest.mark.parametrize(
    ("status", "body", "findings"),
    [
        (400, FILTERED, {"hate:high"}),
        (400, BAD_REQUEST, None),
        (400, NO_BODY, None),
        (403, FILTERED, None),
    ],
)
def test_findings_are_read_only_from_the_body_of_a_refused_prompt(
    status: int, body: bytes | None, findings: set[str] | None
) -> None:
    assert classify(Head(status), body, filtered_prompt=filtered_prompt).findings == findings


def test_no_findings_are_read_where_the_format_has_none() -> None:
    assert classify(Head(400), FILTERED).findings is None


def test_the_error_of_an_unknown_path_shows_forty_characters_of_the_version() -> None:
    error = classify(Head(404), AZURE_NO_PATH, caller_version="2024-10-21-preview".ljust(40, "x") + "y").error
    assert f"with the api-version '{'2024-10-21-preview'.ljust(40, 'x')}'." in str(error)
    assert "api-version" not in str(classify(Head(404), AZURE_NO_PATH).error)


def test_the_error_of_a_refusal_states_the_status() -> None:
    assert "status 502" in str(classify(Head(502)).error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([(b"retry-after", b"2"), (b"retry-after-ms", b"1500")], 1.5),
        ([(b"retry-after", b"2")], 2),
        ([(b"retry-after", b"0.5")], 0.5),
        ([DATE, (b"retry-after", b"Wed, 21 Oct 2015 07:28:09 GMT")], 9),
        ([DATE, (b"retry-after", b"Wed, 21 Oct 2015 07:27:00 GMT")], 0),
        ([DATE, (b"retry-after", b"Fri, 21 Oct 2016 07:28:00 GMT")], 86_400),
        ([(b"retry-after", b"Wed, 21 Oct 2015 07:28:00 GMT")], None),
        ([(b"date", b"yesterday"), (b"retry-after", b"Wed, 21 Oct 2015 07:28:00 GMT")], None),
        ([DATE, (b"retry-after", b"soon")], None),
        ([DATE, (b"retry-after", b"Wed, 21 Oct 20150000000000000 07:28:00 GMT")], None),
        ([(b"retry-after-ms", b"-1"), (b"retry-after", b"nan")], None),
        ([(b"retry-after", b"9" * 5000)], 86_400),
        ([(b"retry-after-ms", b"9" * 20)], 86_400),
        ([], None),
    ],
)
def test_the_wait_is_read_from_either_header_and_is_at_most_a_day(headers: Headers, seconds: float | None) -> None:
    assert retry_after(headers) == seconds
