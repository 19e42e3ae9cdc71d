"""The page at `/reference`: shows the OpenAPI document and sends its requests. One file; it loads nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

_PAGE = Path(__file__).with_name("reference.html")
_INLINE = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


async def reference(request: Request) -> Response:  # noqa: ARG001 - a route
    """Serve `GET /reference`."""
    page, policy = _page()
    headers = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
    }
    return Response(page, headers=headers, media_type="text/html; charset=utf-8")


@cache
def _page() -> tuple[bytes, str]:
    """Return the page and its content security policy: its own script and style, and requests to this gateway only."""
    page = _PAGE.read_bytes()
    allowed = {
        tag.decode(): base64.b64encode(hashlib.sha256(content).digest()).decode()
        for tag, content in _INLINE.findall(page)
    }
    policy = (
        f"default-src 'none'; connect-src 'self'; script-src 'sha256-{allowed['script']}'; "
        f"style-src 'sha256-{allowed['style']}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy
