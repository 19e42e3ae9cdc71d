"""The variables that azd gives to its hooks: those of its environment, and the outputs of the template."""

from __future__ import annotations

import os

from infra.hooks.failures import HookFailed


def variable(name: str, default: str = "") -> str:
    return os.environ.get(name, "") or default


def required(name: str) -> str:
    """Return a variable. Raises `HookFailed` if it is not set."""
    if value := variable(name):
        return value
    raise HookFailed(f"{name} is not set. Run this through azd, for example `azd provision` or `azd hooks run`.")


def flag(name: str, *, default: bool) -> bool:
    return variable(name, str(default)).strip().lower() in ("true", "1", "yes")


def seconds(name: str, default: float) -> float:
    """Return a duration. Raises `HookFailed` if it is no number."""
    try:
        return float(variable(name, str(default)))
    except ValueError:
        raise HookFailed(f"{name} must be a number of seconds.") from None
