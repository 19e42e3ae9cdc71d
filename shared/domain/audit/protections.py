"""The protections of an object, and the changes that take one away or lower it. This is the one list of them.

An event names those that its change weakens, so that an auditor finds them by `weakens`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from shared.domain.content_filter import ContentFilterPolicy, Severity
from shared.domain.values import ValueObject, record

_POLICIES: Final = tuple(ContentFilterPolicy)
_SEVERITIES: Final = tuple(Severity)
_SCOPES: Final = ("usage.read", "use")
"""The scopes of a key. The later one permits more."""


def _is_removed(before: Any, after: Any) -> bool:
    """Tell of a limit or an expiry if it was there and is none any more."""
    return before is not None and after is None


def _is_wider(before: Any, after: Any) -> bool:
    """Tell of a list of what is allowed if something was added to it. An empty list allows everything."""
    return bool(before) and (not after or not set(after) <= set(before))


PROTECTIONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "content_filter_policy": lambda before, after: _POLICIES.index(after) < _POLICIES.index(before),
    "content_filter_threshold": lambda before, after: _SEVERITIES.index(after) > _SEVERITIES.index(before),
    "residency": lambda before, after: _is_wider(before.zones, after.zones) or after.allow_global > before.allow_global,
    "monthly_quota_tokens": _is_removed,
    "monthly_budget_usd": _is_removed,
    "requests_per_minute": _is_removed,
    "tokens_per_minute": _is_removed,
    "max_tokens_per_request": _is_removed,
    "max_concurrent_requests": _is_removed,
    "expires_at": _is_removed,
    "scope": lambda before, after: _SCOPES.index(after) > _SCOPES.index(before),
    "deployments": _is_removed,
    "enabled": lambda before, after: after < before,
    "hold_since": _is_removed,
    "weak_settings": lambda before, after: bool(set(after) - set(before)),
    "address_ranges": _is_wider,
    "pseudonymise_users": lambda before, after: after < before,
    "trust_user_header": lambda before, after: after > before,
}
"""By the name of a field: a rule that tells if a new value protects less than the old one."""


@record
class WeakSettings:
    """The settings of the gateway that take away a protection."""

    weak_settings: tuple[str, ...]


def weakened(before: ValueObject | None, after: ValueObject | None) -> tuple[str, ...]:
    """Return the names of the protections that a change weakens. A new or removed object weakens none."""
    if before is None or after is None:
        return ()
    return tuple(
        name
        for name, is_weaker in PROTECTIONS.items()
        if hasattr(before, name) and is_weaker(getattr(before, name), getattr(after, name))
    )
