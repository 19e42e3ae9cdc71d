"""Routes have one line, one module reads the environment, files are short, and no secret is committed."""

from __future__ import annotations

import inspect
import re
import subprocess
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import function_app
from local.package.ignored import DEPLOYED, patterns
from tests.tools.stack import indexed_functions

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 300
LONGER: Mapping[str, str] = {"function_app.py": "one function for each route and timer, in one list"}
"""Files that may be longer, each with the reason."""
MAX_ROUTE_LINES = 4


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def test_every_function_is_anonymous_to_the_host_and_one_line() -> None:
    http, timers = indexed_functions()
    assert {function.auth_level for function in http} == {"anonymous"}
    for handler in [function.handler for function in http] + [function.handler for function in timers]:
        source = inspect.getsource(handler)
        assert len(source.strip().splitlines()) <= MAX_ROUTE_LINES, source


def test_only_settings_read_the_environment() -> None:
    for path in (ROOT / "shared").rglob("*.py"):
        if path.name != "settings.py":
            assert re.search(r"os\.(environ|getenv)", path.read_text()) is None, path


def test_azure_functions_is_known_to_the_table_of_contents_alone() -> None:
    for path in (ROOT / "shared").rglob("*.py"):
        assert "azure.functions" not in path.read_text(), path
    assert function_app.app is not None


def test_files_are_short_unless_a_reason_is_given() -> None:
    paths = [ROOT / "function_app.py", *(ROOT / "shared").rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert {path for path, lines in lengths.items() if lines > MAX_LINES} == LONGER.keys()


def test_every_tracked_file_at_the_top_is_deployed_or_ignored() -> None:
    # `make package` stops at a file that it does not know
    top = {path.relative_to(ROOT).parts[0] for path in tracked_files()}
    ignored = patterns(ROOT)
    assert {name for name in top if not any(fnmatchcase(name, each) for each in ignored)} == set(DEPLOYED)


def test_no_key_and_no_registry_address_is_committed() -> None:
    suspicious = re.compile(
        r"tg_[a-z0-9-]+-[0-9a-f]{8}_[A-Za-z0-9_-]{43}|AccountKey=|\"resolved\": \"http|--(extra-)?index-url"
        r"|BEGIN [A-Z ]*PRIVATE KEY"
    )
    here = Path(__file__)
    for path in tracked_files():
        if path != here and path.suffix != ".png":
            found = suspicious.search(path.read_text(errors="replace"))
            assert found is None, f"{path}: {found}"
