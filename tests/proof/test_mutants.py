"""The tests of the books notice every deliberate fault of tests/proof/mutants/."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.proof.mutants import MUTANTS
from tests.proof.mutation.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
SUITE = (
    "unit/pricing",
    "unit/audit",
    "unit/test_stored_fields.py",
    "unit/routing/test_answer.py",
    "unit/inference/test_formats.py",
    "unit/ledger",
    "contract/ledger",
    "proof/test_machines.py",
    "proof/test_simulation.py",
)
"""The fastest first."""
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "tests.proof.mutation.plugin")
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-k", "not azurite", "--timeout=60", "--timeout-method=thread")
"""A test that hangs ends its process with 1: a mutant may swallow the error that the other method raises."""
PASSED, FAILED = 0, 1
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the bytecode of what no mutant changes, so that it is compiled only once."""
    return tmp_path_factory.mktemp("bytecode")


def run_tests(mutant: str, files: Iterable[str], bytecode: Path) -> subprocess.CompletedProcess[str]:
    """Run test files in a process of its own, in which one function is changed."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_", "PYTHON"))
    }
    environment = {
        **inherited,
        "MUTANT": mutant,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPYCACHEPREFIX": str(bytecode),
    }
    plugins = [option for plugin in PLUGINS for option in ("-p", plugin)]
    command = [sys.executable, "-m", "pytest", *OPTIONS, *plugins, *(f"tests/{name}" for name in files)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_fault_is_noticed(mutant: Mutant, bytecode: Path) -> None:
    run = run_tests(mutant.name, mutant.killed_by, bytecode)
    if run.returncode == PASSED:
        run = run_tests(mutant.name, SUITE, bytecode)
    assert run.returncode == FAILED, run.stdout[-3000:] + run.stderr[-1000:]


def test_without_a_fault_the_same_tests_pass(bytecode: Path) -> None:
    files = sorted({name for mutant in MUTANTS for name in mutant.killed_by})
    run = run_tests("", files, bytecode)
    assert run.returncode == PASSED, run.stdout[-3000:] + run.stderr[-1000:]
