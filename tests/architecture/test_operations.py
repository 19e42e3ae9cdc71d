"""An inference operation is declared in four places: its format, the list of formats, two routes, and one row."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from shared.adapters.azure_openai.formats.all_formats import FORMATS
from shared.http.operation_table import INFERENCE_OPERATIONS, OPERATIONS
from tests.tools.stack import indexed_functions

ROOT = Path(__file__).resolve().parents[2]
FORMATS_FOLDER = ROOT / "shared/adapters/azure_openai/formats"
TABLE = ROOT / "shared/http/operation_table.py"
ROUTES = ROOT / "function_app.py"


def test_every_format_has_one_row() -> None:
    assert Counter(row.path for row in INFERENCE_OPERATIONS) == Counter(list(FORMATS))


def test_every_route_but_the_last_has_one_row() -> None:
    http, _ = indexed_functions()
    declared = Counter((method, f"/{function.route}") for function in http[:-1] for method in function.methods)
    assert declared == Counter((operation.method, operation.path) for operation in OPERATIONS)


def test_the_route_for_everything_else_is_the_last_that_the_host_tries() -> None:
    http, _ = indexed_functions()
    last = http[-1]
    assert (last.name, last.route) == ("zz_anything_else", "{*path}")
    assert max(http, key=lambda function: function.name.lower()) is last
    assert last.methods == {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}


@pytest.mark.parametrize("path", ["docs", "redoc", "openapi.json", "docs/oauth2-redirect"])
def test_no_route_has_a_path_that_the_http_extension_serves_itself(path: str) -> None:
    http, _ = indexed_functions()
    assert [function.name for function in http if function.route.lower() == path] == []


@pytest.mark.parametrize("operation", FORMATS)
def test_every_format_has_a_dated_route_and_a_v1_route(operation: str) -> None:
    dated = {f"openai/deployments/{{deployment}}/{operation}", f"openai/{operation}"}
    http, _ = indexed_functions()
    routes = [function.route for function in http if function.methods == {"POST"}]
    assert len(dated.intersection(routes)) == 1
    assert routes.count(f"openai/v1/{operation}") == 1


@pytest.mark.parametrize("operation", [path for path in FORMATS if "/" in path])  # a single word has other meanings
def test_no_other_place_names_an_operation(operation: str) -> None:
    files = [ROUTES, *(ROOT / "shared").rglob("*.py")]
    named = {path: found for path in files if (found := times_named(operation, path))}
    (format_file,) = (path for path in named if path.parent == FORMATS_FOLDER)
    assert named == {format_file: 1, TABLE: 1, ROUTES: 4}  # a route names it in its path and in its call


def times_named(operation: str, path: Path) -> int:
    """Count the strings of a file that are the operation's path or end with it. Docstrings do not count."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return sum(
        isinstance(node, ast.Constant)
        and id(node) not in docstrings
        and isinstance(node.value, str)
        and f"/{node.value}".endswith(f"/{operation}")
        for node in ast.walk(tree)
    )


def test_inference_handlers_do_not_know_the_whole_gateway() -> None:
    for path in (ROOT / "shared/http/inference").glob("*.py"):
        assert "composition.gateway" not in path.read_text(), path
