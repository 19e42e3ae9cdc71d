"""The package, built once for all tests of this worker."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from local.setup.needs import find_python_3_13

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def python_3_13() -> Path:
    """A bare Python 3.13, without the packages of an environment."""
    found = find_python_3_13()
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs Python 3.13 for the package; name it with CONFORMANCE_PYTHON.")
        pytest.skip("no Python 3.13 was found")
    return found


@pytest.fixture(scope="session")
def package(python_3_13: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this checkout."""
    archive = tmp_path_factory.mktemp("package") / "gateway.zip"
    subprocess.run([sys.executable, "-m", "local.package", "--output", archive], cwd=ROOT, check=True)
    return archive


@pytest.fixture(scope="session")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as Azure lays it out."""
    folder = tmp_path_factory.mktemp("wwwroot")
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    return folder
