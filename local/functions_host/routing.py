"""Match requests to functions as the host does: dot segments resolved, literals in any case, first match by name."""

from __future__ import annotations

import hmac
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

from local.functions_host.indexing import HttpFunction

_PARAMETER = re.compile(r"{(\*?)(\w+)(\??)(?::\w+)?}")
_RESERVED_PREFIXES = ("admin", "runtime")


class Router:
    """Functions by method and number of segments; a catch-all parameter takes any number."""

    def __init__(self, functions: Iterable[HttpFunction]) -> None:
        self._by_shape: dict[tuple[str, int], list[tuple[int, re.Pattern[str], HttpFunction]]] = defaultdict(list)
        self._open_ended: list[tuple[int, re.Pattern[str], HttpFunction]] = []
        for order, function in enumerate(functions):
            if function.route.split("/")[0].lower() in _RESERVED_PREFIXES:
                raise ValueError(f"the route of {function.name} begins with a prefix that is reserved for the host")
            candidate = (order, _pattern(function.route), function)
            if "{*" in function.route or "?}" in function.route:
                self._open_ended.append(candidate)
                continue
            for method in function.methods or {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}:
                self._by_shape[method, function.route.count("/") + 1].append(candidate)

        self.match = lru_cache(maxsize=1024)(self._match)

    def _match(self, method: str, raw_path: bytes) -> tuple[HttpFunction, dict[str, str]] | None:
        """The function for a request and its path parameters, or `None` for a 404 (also for a wrong method)."""
        path = _normalized(raw_path)
        candidates = self._by_shape.get((method, path.count("/") + 1), [])
        if self._open_ended:
            allowed = [each for each in self._open_ended if not each[2].methods or method in each[2].methods]
            candidates = sorted([*candidates, *allowed], key=lambda each: each[0])
        for _, pattern, function in candidates:
            found = pattern.fullmatch(path)
            if found is not None:
                return function, {name: value for name, value in found.groupdict().items() if value is not None}
        return None


def is_permitted(host_key: str, sent_key: str) -> bool:
    """Tell whether the host lets a request through to a function that is not anonymous."""
    return bool(host_key) and hmac.compare_digest(host_key.encode(), sent_key.encode())


def _normalized(raw_path: bytes) -> str:
    """The path as the host routes it: decoded but for `%2F`, without dot segments and without one slash at its end."""
    path = raw_path.decode("latin-1").removeprefix("/").removesuffix("/")
    if b"%" not in raw_path and b"/." not in raw_path:
        return path
    segments: list[str] = []
    for raw in path.split("/"):
        segment = "%2F".join(unquote(part) for part in re.split("%2[Ff]", raw))
        if segment == "..":
            segments = segments[:-1]
        elif segment != ".":
            segments.append(segment)
    return "/".join(segments)


def _pattern(route: str) -> re.Pattern[str]:
    parts: list[str] = []
    position = 0
    for found in _PARAMETER.finditer(route):
        parts.append(re.escape(route[position : found.start()]))
        is_catch_all, name, is_optional = found.groups()
        parts.append(f"(?P<{name}>{'(?s:.*)' if is_catch_all else '[^/]+'}){'?' if is_optional else ''}")
        position = found.end()
    parts.append(re.escape(route[position:]))
    pattern = "".join(parts)
    return re.compile(pattern.replace("/(?P", "/?(?P") if "?}" in route else pattern, re.IGNORECASE)
