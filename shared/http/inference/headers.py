"""Headers of inference: forwarded to a backend, and returned to the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Final

from shared.application.inference.attempt_backend import Served
from shared.application.inference.serve_stored_responses import ForwardedResponse
from shared.application.telemetry.request_trace import TRACESTATE, RequestTrace
from shared.domain.pricing.money import usd
from shared.domain.routing.catalog import Backend
from shared.http.errors import rate_headers

_CLIENT_REQUEST_ID: Final = "x-ms-client-request-id"
_FORWARDED: Final = tuple(
    (name.encode(), name) for name in ("accept", "user-agent", "openai-beta", _CLIENT_REQUEST_ID, "x-ms-useragent")
)
_NOT_RETURNED: Final = frozenset(
    name.encode()
    for name in (
        "connection", "keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade", "content-length", "date", "server", "set-cookie", "set-cookie2", "location", "operation-location",
        "www-authenticate", "authentication-info", "proxy-authentication-info", "alt-svc", "clear-site-data", "refresh",
        "service-worker-allowed", "sourcemap", "nel", "report-to", "reporting-endpoints",
        "x-ratelimit-limit-requests", "x-ratelimit-limit-tokens", "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens",
    )
)  # fmt: skip
"""Headers of the backend's connection and origin, and of its own limits, which are not the tenant's."""
_NOT_RETURNED_PREFIXES: Final = (b"access-control-", b"x-gateway-", b"cross-origin-", b"content-security-policy")
_MOST_KNOWN_NAMES: Final = 512
_NAME: Final = itemgetter(0)


class _Returned(dict[bytes, bool]):
    """Tells for the name of a header if the caller may get it. Judges each name once (ADR 12)."""

    def __missing__(self, name: bytes) -> bool:
        if len(self) >= _MOST_KNOWN_NAMES:
            self.clear()
        self[name] = is_returned = name not in _NOT_RETURNED and not name.startswith(_NOT_RETURNED_PREFIXES)
        return is_returned


_returned: Final = _Returned()


def forwarded_headers(headers: Mapping[bytes, bytes], trace: RequestTrace) -> dict[str, str]:
    """Return the headers to send to a backend. Adds `x-ms-client-request-id` if the caller sent none.

    `traceparent` is added for each attempt.
    """
    forwarded = {name: headers[sent].decode("latin-1") for sent, name in _FORWARDED if sent in headers}
    forwarded["accept-encoding"] = "identity"
    forwarded.setdefault(_CLIENT_REQUEST_ID, trace.request_id)
    if trace.context is not None and trace.context.state:
        forwarded[TRACESTATE] = trace.context.state
    return forwarded


def headers_of_served(served: Served, request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer: the backend's, and the gateway's with the tenant's balance and limits."""
    kept, balance = _headers_of_backend(served.headers, served.backend, request_id), served.balance
    kept.append((b"x-gateway-attempts", b"%d" % served.attempts))
    if served.annotation:
        kept.append((b"x-gateway-content-filter", served.annotation.encode("latin-1", "replace")))
    if (tokens := balance.available_tokens) is not None:
        kept.append((b"x-gateway-quota-remaining-tokens", b"%d" % tokens))
    if (pusd := balance.available_pusd) is not None:
        kept.append((b"x-gateway-budget-remaining-usd", usd(pusd).encode()))
    if served.limit_status:
        kept += [(name.encode(), text.encode()) for name, text in rate_headers(served.limit_status).items()]
    return kept


def headers_of_stored(response: ForwardedResponse, request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer about a stored response, for which one backend was asked once."""
    kept = _headers_of_backend(response.headers, response.backend, request_id)
    kept.append((b"x-gateway-attempts", b"1"))
    return kept


def _headers_of_backend(
    headers: Sequence[tuple[bytes, bytes]], backend: Backend, request_id: str
) -> list[tuple[bytes, bytes]]:
    kept = [header for header in headers if _returned[header[0]]]
    if b"connection" in map(_NAME, headers):
        kept = _without_named(kept, headers)
    kept.append((b"x-gateway-request-id", request_id.encode()))
    kept += _headers_naming(backend.backend_id, backend.region)
    return kept


@lru_cache(maxsize=4096)  # ADR 12
def _headers_naming(backend_id: str, region: str) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"x-gateway-backend", backend_id.encode("latin-1", "replace")),
        (b"x-gateway-region", region.encode("latin-1", "replace")),
        (b"x-gateway-cache", b"bypass"),
    )


def _without_named(
    kept: list[tuple[bytes, bytes]], headers: Sequence[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """Leave out the headers that `Connection` names: they belong to the connection, whatever they are."""
    listed = b",".join(text for name, text in headers if name == b"connection")
    named = {each.strip().lower() for each in listed.split(b",")}
    return [header for header in kept if header[0] not in named]
