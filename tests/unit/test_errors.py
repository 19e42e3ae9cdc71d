"""An error as the answer to a request."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from shared.domain.errors import BackendUnavailable, GatewayError
from shared.http.errors import error_response

NOW = datetime(2026, 11, 22, tzinfo=UTC)


class NobodyKnows(GatewayError):
    """An error without a status."""


class NoBackendAtNight(BackendUnavailable):
    """An error whose parent has a status."""


def test_the_message_of_an_error_without_a_status_is_withheld() -> None:
    response = error_response(NobodyKnows("in the file /srv/books"), "r-1", NOW)
    error = json.loads(bytes(response.body))["error"]
    assert (response.status_code, error["code"], error["param"]) == (500, "internal_error", None)
    assert error["message"] == "The gateway failed. (request id: r-1)"
    assert response.headers["x-gateway-request-id"] == "r-1"


def test_an_error_has_the_status_of_its_parent_unless_it_has_its_own() -> None:
    response = error_response(NoBackendAtNight("Come back in the morning."), "r-1", NOW)
    error = json.loads(bytes(response.body))["error"]
    assert (response.status_code, error["code"]) == (503, "no_backend_available")
    assert error["message"] == "Come back in the morning. (request id: r-1)"
