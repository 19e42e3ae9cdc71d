"""The route of last resort: answers for paths that nothing serves, and for methods that a path does not have."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from shared.composition.gateway import Gateway
from shared.domain.errors import MethodNotAllowed, NotFound
from shared.http.endpoint import endpoint
from shared.http.operation_table import OPERATIONS
from shared.http.requests import unquoted


@endpoint
async def unknown_path(_gateway: Gateway, request: Request, _request_id: str) -> Response:
    """Answer 404, or 405 if the path is known with other methods. Needs no key: `/reference` lists all paths.

    Storage is not asked.
    """
    methods = _methods_of(request.scope["raw_path"])
    if methods and request.method not in methods:
        raise MethodNotAllowed(methods)
    raise NotFound("No such route. The page /reference lists all routes.")


def _methods_of(raw_path: bytes) -> list[str]:
    """Return the methods of the operations with this path, in any case, as the host matches it."""
    segments = [unquoted(each).lower() for each in raw_path.removeprefix(b"/").removesuffix(b"/").split(b"/")]
    return sorted({operation.method for operation in OPERATIONS if _fits(operation.path, segments)})


def _fits(path: str, segments: Sequence[bytes]) -> bool:
    expected = path.encode().lower().removeprefix(b"/").split(b"/")
    return len(expected) == len(segments) and all(
        name == segment or (name.startswith(b"{") and segment) for name, segment in zip(expected, segments, strict=True)
    )
