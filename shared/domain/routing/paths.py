"""Paths of operations and responses below a backend's endpoint."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import quote

from shared.domain.routing.catalog import Backend, BackendApi

V1: Final = "/openai/v1"


@lru_cache(maxsize=1024)
def operation_path(base: str, deployment: str | None, operation: str, api_version: str) -> str:
    """The path of an operation below a backend's endpoint, with the deployment in it unless the body names that.

    `base` is `/openai/v1`, or `/openai` in the dated API.
    """
    path = base if deployment is None else f"{base}/deployments/{quote(deployment, safe='')}"
    return f"{path}/{operation}?api-version={quote(api_version, safe='')}" if api_version else f"{path}/{operation}"


def response_path(backend: Backend, response_id: str, base: str = V1) -> str:
    """Where a backend has a response that it keeps."""
    path = f"/responses/{quote(response_id, safe='')}"
    return path if backend.api is BackendApi.OPENAI else base + path
