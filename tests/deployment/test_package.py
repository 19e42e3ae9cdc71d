"""`make package`: the same bytes everywhere, only what runs, and all of it on Python 3.13."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import aiohttp
import pytest

from local.package.ignored import Unexpected, deployed_files, patterns
from local.setup.needs import CONFORMANCE
from tests.tools.stack import (
    ADMIN_KEY,
    CHAIN_KEY,
    HOST_KEY,
    SIMULATOR_KEY,
    Stack,
    await_port,
    configure,
    free_port,
    indexed_functions,
    running_simulator,
)

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ".python_packages/lib/site-packages/"
LIST_FUNCTIONS = """
import json, os, sys
root = os.getcwd()
sys.path[:0] = [root, os.path.join(root, ".python_packages/lib/site-packages")]
import function_app
names = sorted(each.get_function_name() for each in function_app.app.get_functions())
strange = [path for path in (getattr(each, "__cached__", None) for each in list(sys.modules.values())) if path
           and not path.startswith((root, sys.base_prefix))]
fresh = [each for each in sys.modules if each.partition(".")[0] in ("shared", "function_app")
         and not sys.modules[each].__spec__.cached.startswith(root)]
json.dump([names, strange, fresh, sys.version_info[:2]], sys.stdout)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Another folder with what builds the package, and with later times."""
    folder = tmp_path / "a longer path" / "checkout"
    shutil.copytree(ROOT / "shared", folder / "shared", copy_function=shutil.copyfile)
    for name in ("local/package", "local/setup"):
        shutil.copytree(ROOT / name, folder / name, copy_function=shutil.copyfile)
    for name in ("local/__init__.py", "LICENSE", "function_app.py", "host.json", "requirements.txt", ".funcignore"):
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copyfile(ROOT / "requirements-uv.txt", folder / "requirements-uv.txt")
    (folder / ".tools").symlink_to(ROOT / ".tools")
    return folder


def build(checkout: Path, archive: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, "-m", "local.package", "--output", archive]
    return subprocess.run(
        command,
        cwd=checkout,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        umask=0o077,
        check=False,
    )


def test_the_package_has_the_same_bytes_from_another_folder_mask_and_time(package: Path, checkout: Path) -> None:
    again = checkout.parent / "again.zip"
    built = build(checkout, again, PYTHONHASHSEED="7", TZ="Asia/Tokyo")
    assert built.returncode == 0, built.stderr
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    assert hashlib.sha256(again.read_bytes()).hexdigest() == digest
    assert f"sha256 {digest}" in built.stdout
    assert f"{again.stat().st_size} bytes" in built.stdout
    assert Path(f"{again}.sha256").read_text() == f"{digest}  again.zip\n"


def test_the_package_holds_what_runs_and_nothing_else(package: Path, checkout: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        entries = archive.infolist()
    names = [each.filename for each in entries]
    own = {name for name in names if not name.startswith(PACKAGES) and "__pycache__" not in name}
    assert own == {file.as_posix() for file in deployed_files(checkout)}
    assert {name.split("/")[0] for name in own} == {
        "LICENSE", "function_app.py", "host.json", "requirements.txt", "shared"
    }  # fmt: skip
    assert names == sorted(names)
    assert {(each.date_time, each.external_attr >> 16) for each in entries} == {((1980, 1, 1, 0, 0, 0), 0o100644)}


def test_every_module_of_the_package_has_bytecode_that_is_not_compared_with_its_source(unpacked: Path) -> None:
    for module in (unpacked / "shared").rglob("*.py"):
        compiled = module.parent / "__pycache__" / f"{module.stem}.cpython-313.pyc"
        assert compiled.read_bytes()[4:8] == b"\x01\x00\x00\x00", compiled  # PEP 552: by hash, unchecked
    assert list((unpacked / PACKAGES).glob("aiohttp/__pycache__/client.cpython-313.pyc"))
    assert list((unpacked / PACKAGES).glob("pydantic_core/*.cpython-313-x86_64-linux-gnu.so"))


def test_no_file_of_the_package_names_a_folder_of_the_machine_that_built_it(unpacked: Path) -> None:
    here = str(ROOT).encode()
    assert [path for path in unpacked.rglob("*") if path.is_file() and here in path.read_bytes()] == []


def test_all_functions_load_from_the_package_alone_on_python_3_13(unpacked: Path, python_3_13: Path) -> None:
    # -I and -S: neither this environment nor that Python's own packages are seen
    listed = subprocess.run(
        [python_3_13, "-I", "-S", "-c", LIST_FUNCTIONS], cwd=unpacked, capture_output=True, text=True, check=True
    )
    names, strange, fresh, version = json.loads(listed.stdout)
    http, timers = indexed_functions()
    assert names == sorted([each.name for each in http] + [each.name for each in timers])
    assert (strange, fresh, version) == ([], [], [3, 13])


async def test_the_package_serves_through_the_worker_library(unpacked: Path, tmp_path: Path) -> None:
    if not CONFORMANCE.python.exists():
        if os.environ.get("CI"):
            pytest.fail("CI needs Microsoft's worker library; run 'python -m local.setup conformance'.")
        pytest.skip("run 'python -m local.setup conformance'")
    port = free_port()
    settings = {
        "TALLYGATE_STORAGE": "memory", "AUDIT_CHAIN_KEY": CHAIN_KEY, "ADMIN_API_KEY": ADMIN_KEY, "HOST_KEY": HOST_KEY,
        "AZURE_OPENAI_API_KEY": SIMULATOR_KEY, "ALLOW_LOOPBACK_BACKENDS": "true", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command: list[str | Path] = [CONFORMANCE.python, "-m", "tests.tools.worker_host", str(port), str(unpacked)]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **settings}, stdout=log, stderr=log)
    try:
        await_port(port, process)
        async with running_simulator() as (simulator, simulator_url), aiohttp.ClientSession() as session:
            stack = Stack(f"http://127.0.0.1:{port}", simulator_url, simulator, session)
            await configure(stack)
            stack.key = await stack.register(stack.tenant)
            assert (await stack.chat())[0] == 200
            assert [each["tokens"] for each in await stack.entries()] == [49]
    finally:
        process.terminate()
        process.wait()


def test_a_file_that_nobody_meant_to_deploy_stops_the_build(checkout: Path) -> None:
    (checkout / "customers.csv").write_text("secret")
    built = build(checkout, checkout.parent / "gateway.zip")
    assert built.returncode == 2
    assert "customers.csv" in built.stderr
    assert not (checkout.parent / "gateway.zip").exists()


@pytest.mark.parametrize("name", [".env", "local.settings.json", ".azure", "my_env", "dist", "azure.yaml", "tests"])
def test_secrets_and_leftovers_of_a_machine_are_ignored(checkout: Path, name: str) -> None:
    before = deployed_files(checkout)
    (checkout / name).mkdir()
    (checkout / name / "secret.txt").write_text("secret")
    assert deployed_files(checkout) == before


def test_bytecode_of_the_machine_is_not_taken(checkout: Path) -> None:
    before = deployed_files(checkout)
    (checkout / "shared" / "__pycache__").mkdir(exist_ok=True)
    (checkout / "shared" / "__pycache__" / "settings.cpython-311.pyc").write_bytes(b"old")
    assert deployed_files(checkout) == before


def test_a_link_is_refused(checkout: Path) -> None:
    (checkout / "shared" / "link.py").symlink_to("/etc/passwd")
    with pytest.raises(Unexpected, match=r"link\.py is a link"):
        deployed_files(checkout)


def test_a_missing_part_is_named(checkout: Path) -> None:
    (checkout / "host.json").unlink()
    with pytest.raises(Unexpected, match=r"missing: host\.json"):
        deployed_files(checkout)


@pytest.mark.parametrize("pattern", ["tests", "/shared/http", "**/x"])
def test_a_pattern_that_could_reach_into_packages_is_refused(checkout: Path, pattern: str) -> None:
    (checkout / ".funcignore").write_text(f"{pattern}\n")
    with pytest.raises(Unexpected, match="must have the form /name"):
        patterns(checkout)


def test_a_python_of_another_version_is_not_used(checkout: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    other = {"CONFORMANCE_PYTHON": sys.executable, "PATH": str(empty), "PYENV_ROOT": str(empty)}
    built = build(checkout, tmp_path / "gateway.zip", **other)
    if sys.version_info[:2] == (3, 13):
        assert built.returncode == 0
    else:
        assert (built.returncode, "Python 3.13 is needed" in built.stderr) == (2, True)
