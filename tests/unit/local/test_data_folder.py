"""The data folder of `make run`: one run at a time, and nothing for others to read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from local.data_folder import LOCK_FILE, FolderInUse, FolderLock, make_private, write_private

ENDED = 2**22 + 1
"""More than the largest process id of Linux: no process has it."""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_has_one_lock_until_it_is_released(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(FolderInUse, match=rf"another run \(process {os.getpid()}\); stop it"):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    script = "import os, sys, pathlib as p, local.data_folder as d; d.FolderLock(p.Path(sys.argv[1])); os.abort()"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert (tmp_path / LOCK_FILE).read_text().startswith('{"run": ')
    FolderLock(tmp_path).release()


def test_processes_that_outlive_their_run_keep_the_lock_and_are_named(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock.descriptor,)
    ) as left:
        lock.name({"run": ENDED, "azurite": left.pid})
        lock.release()
        with pytest.raises(FolderInUse, match=rf"that a killed run has left \(azurite {left.pid}\); end them"):
            FolderLock(tmp_path)
        left.communicate(b"\n")
    FolderLock(tmp_path).release()


def test_a_lock_whose_holder_has_not_written_its_name_is_a_lock(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    (tmp_path / LOCK_FILE).write_text("")
    with pytest.raises(FolderInUse, match="another run, which is starting"):
        FolderLock(tmp_path)
    lock.release()


def test_a_process_of_another_user_is_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(pid: int, sent: int) -> None:
        raise PermissionError

    lock = FolderLock(tmp_path)
    monkeypatch.setattr(os, "kill", refuses)
    with pytest.raises(FolderInUse, match="another run"):
        FolderLock(tmp_path)
    lock.release()


def test_what_earlier_runs_have_left_is_made_private(tmp_path: Path) -> None:
    (tmp_path / "azurite" / "blobs").mkdir(parents=True)
    left = [
        tmp_path / name
        for name in ("secrets.json", "admin.header", "gateway.log", "azurite/tables.json", "azurite/blobs/1")
    ]
    for path in left:
        path.touch(mode=0o644)
    (tmp_path / "notes.txt").touch(mode=0o644)
    (tmp_path / "link.log").symlink_to(tmp_path / "notes.txt")
    tmp_path.chmod(0o755)
    make_private(tmp_path)
    assert {mode(path) for path in left} == {0o600}
    assert {mode(tmp_path), mode(tmp_path / "azurite"), mode(tmp_path / "azurite" / "blobs")} == {0o700}
    assert mode(tmp_path / "notes.txt") == 0o644  # not of a run


@pytest.mark.parametrize(("name", "bits"), [("notes.txt", 0o755), ("secrets.json", 0o1777)])
def test_a_folder_that_serves_others_too_keeps_its_rights(tmp_path: Path, name: str, bits: int) -> None:
    (tmp_path / name).touch()
    tmp_path.chmod(bits)
    make_private(tmp_path)
    assert mode(tmp_path) == bits


def test_a_private_file_is_private_also_if_a_killed_run_left_a_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "run.tmp").touch(mode=0o644)
    write_private(tmp_path / "run.json", {"a": 1})
    assert mode(tmp_path / "run.json") == 0o600
    assert (tmp_path / "run.json").read_text() == '{\n  "a": 1\n}\n'
