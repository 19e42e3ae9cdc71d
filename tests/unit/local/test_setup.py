"""Setup: environments that are current, uv and its fallback, and the launcher. Installs no package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from local.setup.launcher import write_launcher
from local.setup.python_packages import VirtualEnvironment, find_uv, install
from local.setup.stamps import is_installed, mark_installed
from local.setup.steps import Command, StepFailed

UV = Path("/somewhere/uv")
PYTHON = Path(sys.executable)


class Commands:
    """Records commands by their program and first words. Commands of one program can fail."""

    def __init__(self, failing: str = "") -> None:
        self.ran: list[str] = []
        self._failing = failing

    def __call__(self, name: str, command: Command) -> None:
        words = [Path(command[0]).name, *map(str, command[1:])]
        self.ran.append(" ".join(words[:4]))
        if words[0] == self._failing:
            raise StepFailed(f"{name} failed")


@pytest.fixture
def environment(tmp_path: Path) -> VirtualEnvironment:
    lock = tmp_path / "lock.txt"
    lock.write_text("one==1")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").touch()
    return VirtualEnvironment(tmp_path / "venv", (lock,))


def test_an_environment_is_current_until_a_lock_file_changes(environment: VirtualEnvironment) -> None:
    assert not environment.is_current()
    install(environment, PYTHON, UV, Commands())
    assert environment.is_current()
    environment.locks[0].write_text("one==2")
    assert not environment.is_current()


def test_an_environment_with_a_superset_of_packages_is_current(tmp_path: Path) -> None:
    small, large, other = (tmp_path / name for name in ("small", "large", "other"))
    for lock in (small, large, other):
        lock.write_text(lock.name)
    mark_installed(tmp_path, (large,))
    assert is_installed(tmp_path, (small,), (large,))
    assert not is_installed(tmp_path, (small,), (other,))


def test_uv_installs_what_the_lock_file_names(environment: VirtualEnvironment) -> None:
    commands = Commands()
    install(environment, PYTHON, UV, commands)
    assert commands.ran == ["uv pip install --python", "uv pip check --python"]


@pytest.mark.parametrize(("uv", "tried"), [(None, []), (UV, ["uv pip install --python"])])
def test_pip_installs_it_where_uv_is_missing_or_fails(
    environment: VirtualEnvironment, uv: Path | None, tried: list[str]
) -> None:
    commands = Commands(failing="uv")
    install(environment, PYTHON, uv, commands)
    assert [each.replace(PYTHON.name, "python") for each in commands.ran] == [
        *tried,
        f"python -m venv {environment.folder}",
        "python -m pip --disable-pip-version-check",
        "python -m pip --disable-pip-version-check",
    ]
    assert environment.is_current()


def test_an_environment_is_not_current_where_nothing_can_install_it(environment: VirtualEnvironment) -> None:
    with pytest.raises(StepFailed):
        install(environment, PYTHON, None, Commands(failing=PYTHON.name))
    assert not environment.is_current()


def test_uv_is_none_if_it_cannot_be_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_uv(tmp_path / "uv", Commands(failing=PYTHON.name)) is None
    assert "pip does its work" in capsys.readouterr().out


def test_the_launcher_runs_the_command_line_of_its_checkout_from_any_folder(tmp_path: Path) -> None:
    root, folder = tmp_path / "a checkout", tmp_path / "a checkout" / ".venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(PYTHON)
    (root / "shared" / "cli").mkdir(parents=True)
    (root / "shared" / "cli" / "__main__.py").write_text("import sys\ndef main(): print(sys.argv[1:]); return 3\n")
    write_launcher(folder, root)
    launcher = str(folder / "bin" / "tallygate")
    ended = subprocess.run([launcher, "verify", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "['verify', '--help']\n", "")


def test_an_unknown_need_is_refused_with_the_known_ones() -> None:
    command = [sys.executable, "-m", "local.setup", "everything"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "run, development, azurite, conformance, clients, kusto, not ['everything']" in ended.stderr
