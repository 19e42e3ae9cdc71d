"""Reasons for which a hook stops."""

from __future__ import annotations


class HookFailed(Exception):
    """Tells in a line or two what is wrong and what to do."""


class NotPermitted(HookFailed):
    """The signed-in identity may not do this."""


class NotFound(HookFailed):
    """There is no such object."""


class Conflict(HookFailed):
    """The object is in a state that forbids this."""
