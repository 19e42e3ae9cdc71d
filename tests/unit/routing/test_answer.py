"""What a backend's answer means to the gateway."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from shared.domain.routing.answer import Headers, Meaning, classify

SECONDS = [(b"retry-after", b"2")]
NO_DEPLOYMENT = b'{"error":{"code":"DeploymentNotFound","message":"The API deployment does not exist."}}'
NO_PATH = b'{"error":{"code":"404","message":"Resource not found"}}'


@dataclass(frozen=True)
class Head:
    status: int
    headers: Headers = ()


@pytest.mark.parametrize(
    ("status", "headers", "meaning"),
    [
        (200, [], Meaning.COMPLETED),
        (400, [], Meaning.CALLER_ERROR),
        (429, [], Meaning.THROTTLED),
        (429, SECONDS, Meaning.THROTTLED),
        (503, [], Meaning.FAILED),
        (503, SECONDS, Meaning.THROTTLED),
        (408, [], Meaning.FAILED),
        (500, SECONDS, Meaning.FAILED),
        (401, [], Meaning.MISCONFIGURED),
        (403, [], Meaning.MISCONFIGURED),
        (404, [], Meaning.UNDECIDED),
    ],
)
def test_most_statuses_are_classified_without_a_body(status: int, headers: Headers, meaning: Meaning) -> None:
    assert classify(Head(status, headers)).meaning is meaning


@pytest.mark.parametrize(
    ("body", "version", "meaning"),
    [
        (NO_DEPLOYMENT, "", Meaning.MISCONFIGURED),
        (NO_DEPLOYMENT, "2024-10-21", Meaning.MISCONFIGURED),
        (b'{"error":{"code":"model_not_found"}}', "", Meaning.MISCONFIGURED),
        (b'{"error":{"code":"invalid_file"}}', "2024-10-21", Meaning.CALLER_ERROR),
        (NO_PATH, "", Meaning.MISCONFIGURED),
        (NO_PATH, "2099-01-01", Meaning.UNKNOWN_VERSION),
        (b'{"detail":"Not Found"}', "", Meaning.MISCONFIGURED),
        (b"", "2099-01-01", Meaning.UNKNOWN_VERSION),
    ],
)
def test_a_404_is_classified_by_its_body(body: bytes, version: str, meaning: Meaning) -> None:
    answer = classify(Head(404), body, caller_version=version)
    assert answer.meaning is meaning
    assert (answer.error is None) == (meaning is Meaning.CALLER_ERROR)


@pytest.mark.parametrize(("status", "headers", "seconds"), [(429, [], None), (429, SECONDS, 2), (503, SECONDS, 2)])
def test_a_throttle_says_when_to_retry_if_the_backend_does(
    status: int, headers: Headers, seconds: float | None
) -> None:
    assert classify(Head(status, headers)).retry_after_seconds == seconds
