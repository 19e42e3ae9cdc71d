"""Paths of operations and responses below a backend's endpoint."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import quote

from shared.domain.routing.catalog import Backend, BackendApi

V1: Final = "/openai/v1"


@lru_cache(maxsize=1024)  # ADR 12
def operation_path(base: str, deployment: str | None, operation: str, api_version: str) -> str:
    """Return the path and query of an operation below a backend's endpoint.

    `base` is `/openai/v1`, or `/openai` in the dated API. The path contains `deployment` unless that is `None`, because
    the body names it then.
    """
    path = base if deployment is None else f"{base}/deployments/{quote(deployment, safe='')}"
    return f"{path}/{operation}?api-version={quote(api_version, safe='')}" if api_version else f"{path}/{operation}"


def response_path(backend: Backend, response_id: str, base: str = V1) -> str:
    """Return the path of a stored response below a backend's endpoint."""
    path = f"/responses/{quote(response_id, safe='')}"
    return path if backend.api is BackendApi.OPENAI else base + path
