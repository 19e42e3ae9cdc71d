"""Every deliberate fault of tests/proof/mutants.py is noticed by the tests of the books."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.proof.mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
SUITE = [
    "unit/test_domain", "unit/inference/test_formats", "unit/ledger/test_rate_limit", "unit/ledger/test_lanes",
    "unit/ledger/test_committer", "unit/ledger/test_periods", "contract/ledger/test_ledger",
    "contract/ledger/test_lanes", "unit/ledger/test_hot_tenants", "proof/test_machines", "proof/test_simulation",
]  # fmt: skip
"""The fastest first."""


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_fault_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    source = (ROOT / mutant.path).read_text()
    assert source.count(mutant.old) == 1, "the code has changed; change the mutant too"
    for folder in ("shared", "local", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "function_app.py", "host.json"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / mutant.path).write_text(source.replace(mutant.old, mutant.new))
    options = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "not azurite", "--timeout=30")
    command = [sys.executable, "-m", "pytest", *options]
    files = [f"tests/{name}.py" for name in SUITE]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_"))}
    run = subprocess.run([*command, *files], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stdout[-3000:] + run.stderr[-1000:]
