"""Every check by its name. Each yields what is wrong, in words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Final

from tests.infra import app_checks, operation_checks, resource_checks, static_checks
from tests.infra.subject import Subject


def _checks_of(module: ModuleType) -> dict[str, Callable[[Subject], Iterable[str]]]:
    found = inspect.getmembers(module, inspect.isfunction)
    return {name: each for name, each in found if each.__module__ == module.__name__ and not name.startswith("_")}


CHECKS: Final[Mapping[str, Callable[[Subject], Iterable[str]]]] = {
    **_checks_of(static_checks),
    **_checks_of(app_checks),
    **_checks_of(resource_checks),
    **_checks_of(operation_checks),
}
