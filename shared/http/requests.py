"""Reads requests: headers, bodies up to their limit, and segments of the path."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from shared.adapters.request_bodies import BodyBounds, BodyReader, is_large
from shared.domain.errors import InvalidRequest, NotFound
from shared.domain.identifiers import timestamp

ModelT = TypeVar("ModelT", bound=BaseModel)
_DOT_SEGMENTS = (b".", b"..")
_PAGE = re.compile("[0-9]{1,3}")
_MAX_PAGE = 500
_DEFAULT_PAGE = 100
MAX_REASON = 256


def headers_of(request: Request) -> dict[bytes, bytes]:
    """Return the headers by lower-case name. If one was sent twice, the last counts."""
    return dict(request.scope["headers"])


async def wait_for_disconnect(request: Request) -> None:
    """Return when the caller has disconnected. Call it only after the body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read_model(request: Request, model: type[ModelT], limit: int) -> ModelT:
    """Return the JSON body as a model. Raises `InvalidRequest` naming the first field that is wrong or unknown."""
    reader = BodyReader(BodyBounds(max_bytes=limit, budget_bytes=2 * limit, seconds=60, bytes_per_second=1024))
    headers = headers_of(request)
    body = await reader.read(request.receive, headers, reader.hold("", headers) if is_large(headers) else None)
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(str(part) for part in problem["loc"]) or None
        raise InvalidRequest(f"{param or 'body'}: {problem['msg']}", param) from None


def path_segment(request: Request, index: int) -> str:
    """Return one segment of the path, decoded once. `%2F` stays inside its segment on every host.

    Raises `NotFound` for a path with dot segments: the host resolved them to choose the route, so that the segments
    as sent belong to another path. Raises `InvalidRequest` for bytes that are not UTF-8.
    """
    return _segment(request.scope["raw_path"], index)


@lru_cache(maxsize=256)  # ADR 12
def _segment(raw_path: bytes, index: int) -> str:
    segments = raw_path.split(b"/")
    if any(unquoted(each) in _DOT_SEGMENTS for each in segments):
        raise NotFound("No such route.")
    segment = segments[index + 1]
    try:
        return unquoted(segment).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The path is not valid UTF-8.") from None


def unquoted(text: bytes) -> bytes:
    """Decode percent signs."""
    return unquote_to_bytes(text) if b"%" in text else text


def page_query(request: Request) -> tuple[int, str | None]:
    """Return the query parameters `limit` and `cursor` of a list. Raises `InvalidRequest`."""
    query = request.query_params
    text = query.get("limit", str(_DEFAULT_PAGE))
    if _PAGE.fullmatch(text) is None or not 1 <= int(text) <= _MAX_PAGE:
        raise InvalidRequest(f"'limit' must be a number from 1 to {_MAX_PAGE}.", "limit")
    return int(text), query.get("cursor") or None


def moment_query(request: Request, name: str) -> str:
    """Return a time of the query as `timestamp` writes it; an empty text for none. Raises `InvalidRequest`."""
    text = request.query_params.get(name, "")
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None and len(text) > len("2026-11-01"):
            raise ValueError
        return timestamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"'{name}' must be a date, or a time with its zone, such as 2026-11-01T12:00:00Z.", name
        ) from None


def reason_query(request: Request) -> str:
    """Return the query parameter `reason`; an empty text if it is not given. Raises `InvalidRequest`."""
    text = request.query_params.get("reason", "")
    if len(text) > MAX_REASON or not text.isprintable() or text.strip() != text:
        raise InvalidRequest(f"'reason' must have at most {MAX_REASON} printable characters.", "reason")
    return text
