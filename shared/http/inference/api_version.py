"""The two ways to name an API version: the dated paths require a query parameter, the v1 paths do not."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from starlette.requests import Request

from shared.domain.errors import InvalidRequest
from shared.http.requests import unquoted

DATED: Final = "/openai"
"""The path before an operation, where the query parameter `api-version` is required."""
_PARAMETER: Final = b"api-version="
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")


def api_version_of(request: Request, base: str) -> str:
    """Return the query parameter `api-version`; empty if it was not sent.

    Raises `InvalidRequest` where `base` is `DATED` and the parameter is no date.
    """
    return _api_version(request.scope["query_string"], base)


@lru_cache(maxsize=256)  # ADR 12
def _api_version(query: bytes, base: str) -> str:
    stated = next((each for each in query.split(b"&") if each.startswith(_PARAMETER)), _PARAMETER)
    api_version = unquoted(stated.removeprefix(_PARAMETER)).decode("latin-1")
    if base == DATED and _DATE.fullmatch(api_version) is None:
        raise InvalidRequest(
            "The query parameter 'api-version' is required: a date, for example 2024-10-21 or 2025-04-01-preview.",
            "api-version",
        )
    return api_version
