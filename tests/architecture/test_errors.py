"""Every error class of the gateway has one status, or a reason why no caller gets it."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import shared
from shared.domain.errors import BackendFailed, GatewayError, PeriodExhausted
from shared.http.errors import NEVER_ANSWERED, STATUSES

ROOT = Path(__file__).resolve().parents[2]
ABSTRACT = {GatewayError, PeriodExhausted, BackendFailed}
"""Parents of the errors that are raised. Nothing raises these themselves."""


def subclasses(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def errors_of_the_product() -> set[type[GatewayError]]:
    for module in pkgutil.walk_packages(shared.__path__, "shared."):
        importlib.import_module(module.name)
    return {kind for kind in subclasses(GatewayError) if kind.__module__.startswith("shared.")}


def test_every_error_has_a_status_or_is_never_answered() -> None:
    assert STATUSES.keys() | NEVER_ANSWERED.keys() == errors_of_the_product() - ABSTRACT
    assert not STATUSES.keys() & NEVER_ANSWERED.keys()


def test_no_abstract_error_is_made() -> None:
    names = {kind.__name__ for kind in ABSTRACT}
    for path in (ROOT / "shared").rglob("*.py"):
        called = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        made = {ast.unparse(function).rpartition(".")[2] for function in called}
        assert not made & names, path
