"""Hold requests of `/manage` and `/me` against the table of operations: what it does not declare is refused.

A parameter that is ignored, or a condition that is not checked, would do something else than its sender means.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Final

from starlette.requests import Request

from shared.domain.errors import InvalidRequest, NotFound
from shared.http.operation import Operation
from shared.http.operation_table import OPERATIONS

_PARAMETER: Final = re.compile(r"{\w+}")
_IF_MATCH: Final = "if-match"
_ETAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ETAGS: Final = re.compile(rf"{_ETAG}(?:[ \t]*,[ \t]*{_ETAG})*")


def operation_of(request: Request) -> Operation:
    """Return the row of the operation. Raises `NotFound` for a path that only its dot segments lead to a route."""
    return _operation(request.method, request.scope["raw_path"].decode("latin-1"))


def check_declared(request: Request) -> None:
    """Raise `InvalidRequest` for an undeclared or repeated query parameter, and for an undeclared `If-Match`.

    Raises `NotFound` as `operation_of` does.
    """
    operation = operation_of(request)
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in operation.query:
            known = ", ".join(operation.query) or "none"
            raise InvalidRequest(f"The query parameter '{name}' is unknown. Known here: {known}.", name)
        if count > 1:
            raise InvalidRequest(f"The query parameter '{name}' is given {count} times.", name)
    if not operation.takes_if_match and _IF_MATCH in request.headers:
        raise InvalidRequest("'If-Match' is not supported here.", "If-Match")


def etags_of(request: Request) -> tuple[str, ...]:
    """Return the entity tags of `If-Match`; none if any version will do. Raises `InvalidRequest` for anything else.

    Source: https://www.rfc-editor.org/rfc/rfc9110#field.if-match
    """
    text = ", ".join(request.headers.getlist(_IF_MATCH)).strip() if _IF_MATCH in request.headers else "*"
    if text == "*":
        return ()
    if _ETAGS.fullmatch(text) is None:
        raise InvalidRequest("'If-Match' must be '*' or the ETag of an answer, in its quotes.", "If-Match")
    return tuple(re.findall(_ETAG, text))


def _operation(method: str, path: str) -> Operation:
    for pattern, operation in _patterns():
        if operation.method == method and pattern.fullmatch(path):
            return operation
    raise NotFound("No such route.")


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], Operation], ...]:
    """Return the patterns of all paths. The host takes literals in any case, and a slash at the end."""
    return tuple(
        (re.compile("[^/]+".join(map(re.escape, _PARAMETER.split(each.path))) + "/?", re.IGNORECASE), each)
        for each in OPERATIONS
    )
