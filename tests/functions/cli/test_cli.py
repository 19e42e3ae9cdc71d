"""The command line `tallygate`: help, exit status, text and JSON, progress, interruption."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.application.ledger.findings import INVARIANTS
from shared.cli.__main__ import main, run
from shared.cli.verification import SHOWN_FINDINGS
from tests.functions.cli.conftest import (
    MANY_TENANTS,
    TENANTS,
    Files,
    change_balance_in,
    write_damaged_price_in,
    write_manifest_in,
)
from tests.tools.ledgers import PERIOD
from tests.tools.stack import CHAIN_KEY, AzuriteAccount, free_port

ROOT = Path(__file__).resolve().parents[3]
DONE, VIOLATED, NO_ANSWER = 0, 1, 2
EVERYTHING_HOLDS = dict.fromkeys(INVARIANTS, True)
NOT_IN_AN_ARCHIVE = ("I12", "I13", "I14", "I17", "I18", "I19", "I20", "I21")
ARCHIVE_HOLDS = EVERYTHING_HOLDS | dict.fromkeys(NOT_IN_AN_ARCHIVE)
"""Results for an archive whose books are right: `None` stands for what was not checked."""
RESTORED_HOLDS = EVERYTHING_HOLDS | dict.fromkeys(("I12", "I13", "I17", "I20"))
Captured = pytest.CaptureFixture[str]


def run_json(capsys: Captured, *arguments: str) -> tuple[int, Any]:
    """Run a command with `--json`. Returns its status and its document, which is all of stdout."""
    status = run([*arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def use_account(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Let the settings name a storage account at this endpoint."""
    monkeypatch.setenv("TALLYGATE_STORAGE", "tables")
    monkeypatch.setenv("TALLYGATE_STORAGE_ACCOUNT_NAME", "books")
    monkeypatch.setenv("TALLYGATE_STORAGE_ACCOUNT_KEY", "a2V5")
    monkeypatch.setenv("TALLYGATE_TABLE_ENDPOINT", endpoint)
    monkeypatch.setenv("TALLYGATE_BLOB_ENDPOINT", endpoint)


@pytest.mark.parametrize("command", ["verify", "evidence", "backup", "restore"])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_the_help_of_a_command_has_an_example(command: str, option: str, capsys: Captured) -> None:
    assert run([command, option]) == DONE
    told = capsys.readouterr().out
    assert f"Usage: tallygate {command} " in told
    assert f"  tallygate {command} --" in told.partition("Example")[2]
    assert "Print one JSON document" in told


def test_the_help_of_the_group_names_every_command_and_exit_status(capsys: Captured) -> None:
    assert run(["--help"]) == DONE
    told = capsys.readouterr().out
    assert [
        line for line in ("  backup ", "  restore ", "  verify ", "  0  ", "  1  ", "  2  ") if line not in told
    ] == []
    assert "configuration.md" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Usage: tallygate"),
        (["close"], "No such command 'close'"),
        (["verify"], "Give either --period or --archive."),
        (["verify", "--period", "2026-11", "--archive", __file__], "Give either --period or --archive."),
        (["verify", "--archive", __file__, "--acknowledged", __file__], "--acknowledged needs --period."),
        (["verify", "--period", "November"], "Invalid value for '--period'"),
        (["verify", "--period", "2026-13"], "Invalid value for '--period'"),
        (["verify", "--archive", "missing.gz"], "File 'missing.gz' does not exist."),
        (["verify", "--period", "2026-11", "--acknowledged", "missing.txt"], "File 'missing.txt' does not exist."),
        (["backup", "--period", "2026-11"], "Missing option '--file'"),
        (["backup", "--file", "a.gz"], "Missing option '--period'"),
        (["backup", "--period", "2026-11", "--file", "."], "File '.' is a directory."),
        (["restore"], "Missing option '--file'"),
        (["restore", "--file", "missing.gz"], "File 'missing.gz' does not exist."),
    ],
)
def test_wrong_arguments_end_with_no_answer(arguments: Sequence[str], told: str, capsys: Captured) -> None:
    assert run(arguments) == NO_ANSWER
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", "--period", PERIOD],
        ["backup", "--period", PERIOD, "--file", "{folder}/a"],
        ["restore", "--file", "{file}"],
    ],
)
def test_missing_settings_end_with_no_answer_and_are_named(
    arguments: Sequence[str], files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.delenv("AUDIT_CHAIN_KEY", raising=False)
    assert run([each.format(folder=tmp_path, file=files.right) for each in arguments]) == NO_ANSWER
    told = capsys.readouterr().err
    assert told.startswith("Error: Settings are incomplete or wrong")
    assert "AUDIT_CHAIN_KEY" in told


def test_storage_that_cannot_be_reached_ends_with_no_answer(
    settings: None, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    use_account(monkeypatch, f"http://127.0.0.1:{free_port()}/books")
    assert run(["verify", "--period", PERIOD]) == NO_ANSWER
    assert capsys.readouterr().err.startswith("Error: ")


def test_an_archive_whose_books_are_right_holds(settings: None, files: Files, capsys: Captured) -> None:
    assert run(["verify", "--archive", str(files.right)]) == DONE
    told = capsys.readouterr().out
    assert told.startswith(f"Period {PERIOD}: {len(TENANTS)} tenants\n")
    assert [name for name in INVARIANTS if f"  {name:4} holds" not in told] == [*NOT_IN_AN_ARCHIVE]
    assert "  I13  unchecked" in told
    assert "VIOLATED" not in told
    assert f"  {len(TENANTS)} entries: SHA-256 with a mac, key version 0, last {PERIOD}-" in told
    assert "  I2   a complete rollback: if all rows are as they were earlier" in told


def test_without_the_chain_key_nobody_says_that_the_chain_holds(
    settings: None, files: Files, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.delenv("AUDIT_CHAIN_KEY")
    monkeypatch.setenv("AUDIT_CHAIN_KEYS", f"2={CHAIN_KEY[::-1]}")
    monkeypatch.setenv("AUDIT_CHAIN_KEY_VERSION", "2")
    assert run(["verify", "--archive", str(files.right)]) == NO_ANSWER
    told = capsys.readouterr().out
    assert "  I2   unchecked" in told
    assert f"mac not checked of {len(TENANTS)} entries: key version 0 is not known" in told
    assert run(["verify", "--archive", str(files.wrong)]) == VIOLATED


def test_an_archive_whose_books_are_wrong_is_a_violation(settings: None, files: Files, capsys: Captured) -> None:
    assert run(["verify", "--archive", str(files.wrong)]) == VIOLATED
    told = capsys.readouterr().out
    assert "  I3   VIOLATED" in told
    assert "  I1   holds" in told
    assert f"  I3 {TENANTS[0]}: " in told


def test_verification_tells_as_json_what_holds(settings: None, files: Files, capsys: Captured) -> None:
    status, document = run_json(capsys, "verify", "--archive", str(files.right))
    unchecked = {each["invariant"] for each in document.pop("not_checked") if each["reason"]}
    (chained,) = document.pop("chained")
    expected = {"period": PERIOD, "tenants": len(TENANTS), "holds": ARCHIVE_HOLDS, "findings": [], "notes": []}
    assert (status, document) == (DONE, expected)
    assert chained.pop("last").startswith(PERIOD)
    assert chained == {
        "method": "sha256",
        "key_version": "0",
        "is_key_known": True,
        "is_open": False,
        "entries": len(TENANTS),
    }
    assert unchecked == {"I2", "I4", "I9", "I10", "I15", "I16", *NOT_IN_AN_ARCHIVE}


def test_verification_tells_every_finding_as_json(settings: None, files: Files, capsys: Captured) -> None:
    status, document = run_json(capsys, "verify", "--archive", str(files.wrong))
    assert status == VIOLATED
    assert document["holds"] == ARCHIVE_HOLDS | {"I3": False}
    (finding,) = document["findings"]
    assert finding.pop("message").startswith("entries sum to ")
    place = {"table": "ledger202611", "partition": f"{TENANTS[0]}|00", "row": "B", "property": "used_tokens"}
    assert finding == {"invariant": "I3", "tenant_id": TENANTS[0], **place}


def test_one_tenant_is_verified_alone(settings: None, files: Files, capsys: Captured) -> None:
    status, document = run_json(capsys, "verify", "--archive", str(files.wrong), "--tenant", TENANTS[1])
    assert (status, document["tenants"], document["findings"]) == (DONE, 1, [])


def test_text_shows_the_first_findings_and_counts_the_others(settings: None, files: Files, capsys: Captured) -> None:
    assert run(["verify", "--archive", str(files.all_wrong)]) == VIOLATED
    told = capsys.readouterr().out
    hidden = len(MANY_TENANTS) - SHOWN_FINDINGS
    assert told.count("  I3 tenant-") == SHOWN_FINDINGS
    assert f"... and {hidden} more; --json prints all\n" in told


def test_json_has_every_finding(settings: None, files: Files, capsys: Captured) -> None:
    _, document = run_json(capsys, "verify", "--archive", str(files.all_wrong))
    assert [finding["tenant_id"] for finding in document["findings"]] == [*MANY_TENANTS]


@pytest.mark.parametrize("command", [["verify", "--archive"], ["restore", "--file"]])
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda content: content[:-20], id="cut off"),
        pytest.param(lambda _: b"not gzip", id="other file"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(
            lambda content: gzip.compress(gzip.decompress(content).replace(b"charge", b"chargX")), id="changed"
        ),
        pytest.param(
            lambda content: gzip.compress(gzip.decompress(content).replace(b'\n["', b'\n[1,"')),
            id="a line that is no row",
        ),
    ],
)
def test_a_damaged_file_ends_with_no_answer(
    command: list[str],
    spoil: Callable[[bytes], bytes],
    settings: None,
    files: Files,
    tmp_path: Path,
    capsys: Captured,
) -> None:
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(spoil(files.right.read_bytes()))
    assert run([*command, str(damaged)]) == NO_ANSWER
    captured = capsys.readouterr()
    assert f"Error: {damaged} is " in captured.err
    assert captured.out == ""


def test_a_list_that_is_no_text_ends_with_no_answer(settings: None, tmp_path: Path, capsys: Captured) -> None:
    told = tmp_path / "told.txt"
    told.write_bytes(b"r1 \xff")
    assert run(["verify", "--period", PERIOD, "--acknowledged", str(told)]) == NO_ANSWER
    assert f"{told} cannot be read as text." in capsys.readouterr().err


def test_a_key_is_required_where_the_storage_account_has_no_tls(
    settings: None, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    use_account(monkeypatch, "http://127.0.0.1:1/books")
    monkeypatch.delenv("TALLYGATE_STORAGE_ACCOUNT_KEY")
    assert run(["verify", "--period", PERIOD]) == NO_ANSWER
    assert "TALLYGATE_TABLE_ENDPOINT must be https unless" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_ends_with_no_answer(settings: None, tmp_path: Path, capsys: Captured) -> None:
    assert run(["backup", "--period", PERIOD, "--file", str(tmp_path / "missing" / "a.gz")]) == NO_ANSWER
    assert "No such file or directory" in capsys.readouterr().err


def test_a_file_is_restored(settings: None, files: Files, capsys: Captured) -> None:
    assert run(["restore", "--file", str(files.right)]) == DONE
    assert capsys.readouterr().out == f"{PERIOD} is restored from {files.right}\n"


def test_restoring_tells_the_period_as_json(settings: None, files: Files, capsys: Captured) -> None:
    expected = {"period": PERIOD, "file": str(files.right)}
    assert run_json(capsys, "restore", "--file", str(files.right)) == (DONE, expected)


def test_a_period_without_rows_is_backed_up(settings: None, tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "empty.gz"
    assert run(["backup", "--period", PERIOD, "--file", str(file)]) == DONE
    assert capsys.readouterr().out == f"0 rows of {PERIOD} are in {file}\n"
    assert run_json(capsys, "verify", "--archive", str(file))[1]["tenants"] == 0


def test_a_period_is_restored_verified_and_backed_up_to_the_same_content(
    account_settings: AzuriteAccount, files: Files, tmp_path: Path, capsys: Captured
) -> None:
    again = tmp_path / "again.gz"
    assert run(["restore", "--file", str(files.right)]) == DONE
    assert run(["restore", "--file", str(files.right)]) == DONE
    capsys.readouterr()
    status, verified = run_json(capsys, "verify", "--period", PERIOD)
    assert (status, verified["tenants"], verified["holds"]) == (DONE, len(TENANTS), RESTORED_HOLDS)
    status, written = run_json(capsys, "backup", "--period", PERIOD, "--file", str(again))
    content = gzip.decompress(files.right.read_bytes())
    assert (status, written) == (DONE, {"period": PERIOD, "rows": content.count(b"\n") - 2, "file": str(again)})
    assert gzip.decompress(again.read_bytes()) == content


def test_a_backup_names_the_prices_that_it_lacks(
    account_settings: AzuriteAccount, files: Files, tmp_path: Path, capsys: Captured
) -> None:
    again = tmp_path / "again.gz"
    assert run(["restore", "--file", str(files.right)]) == DONE
    asyncio.run(write_damaged_price_in(account_settings))
    capsys.readouterr()
    assert run(["backup", "--period", PERIOD, "--file", str(again)]) == DONE
    told = capsys.readouterr().err
    assert "The file lacks the damaged row prices/gpt-4o/odd (the price cannot be read: " in told
    assert gzip.decompress(again.read_bytes()) == gzip.decompress(files.right.read_bytes())


def test_a_balance_changed_in_storage_is_a_violation_and_stops_a_restore(
    account_settings: AzuriteAccount, files: Files, capsys: Captured
) -> None:
    assert run(["restore", "--file", str(files.right)]) == DONE
    asyncio.run(change_balance_in(account_settings))
    capsys.readouterr()
    status, document = run_json(capsys, "verify", "--period", PERIOD, "--tenant", TENANTS[0])
    assert (status, document["tenants"], document["holds"]["I3"]) == (VIOLATED, 1, False)
    assert run(["restore", "--file", str(files.right)]) == NO_ANSWER
    assert "holds something else" in capsys.readouterr().err


def test_a_finding_of_no_tenant_is_shown_with_its_period(
    account_settings: AzuriteAccount, files: Files, capsys: Captured
) -> None:
    asyncio.run(write_manifest_in(account_settings, b"not a manifest"))
    assert run(["verify", "--period", PERIOD]) == VIOLATED
    assert f"  I12 {PERIOD}: the files of {PERIOD} cannot be read" in capsys.readouterr().out


def test_each_acknowledged_request_must_be_booked_once(
    account_settings: AzuriteAccount, files: Files, tmp_path: Path, capsys: Captured
) -> None:
    told = tmp_path / "told.txt"
    arguments = ("verify", "--period", PERIOD, "--tenant", TENANTS[0], "--acknowledged", str(told))
    assert run(["restore", "--file", str(files.right)]) == DONE
    capsys.readouterr()
    told.write_text("r1\n")
    assert run_json(capsys, *arguments)[0] == DONE
    told.write_text("r1 never-booked\n")
    status, document = run_json(capsys, *arguments)
    assert (status, document["holds"]["I13"]) == (VIOLATED, False)
    assert "never-booked" in document["findings"][0]["message"]


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_progress_bar_and_stdout_none_of_it(
    settings: None, files: Files, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run_json(capsys, "verify", "--archive", str(files.right))[0] == DONE
    assert "Tenants verified" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_a_file_gets_no_progress_bar(settings: None, files: Files, capsys: Captured) -> None:
    assert run(["restore", "--file", str(files.right)]) == DONE
    assert capsys.readouterr().err.strip() == "Rows restored"


@contextmanager
def interrupting_server() -> Iterator[str]:
    """A server that interrupts this process, as Ctrl-C does, when a client connects."""
    # A shell lets its background jobs ignore interrupts, and so would this process if it is one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def interrupt() -> None:
            connection, _ = listener.accept()
            with connection:
                os.kill(os.getpid(), signal.SIGINT)
                while connection.recv(65_536):
                    continue

        thread = threading.Thread(target=interrupt)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/books"
        thread.join()
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_command_ends_with_no_answer(
    settings: None, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    with interrupting_server() as endpoint:
        use_account(monkeypatch, endpoint)
        assert run(["verify", "--period", PERIOD]) == NO_ANSWER
    assert capsys.readouterr().err.endswith("Aborted.\n")


def test_the_command_ends_its_process_with_its_status(
    settings: None, files: Files, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(sys, "argv", ["tallygate", "verify", "--archive", str(files.wrong)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == VIOLATED
    assert "VIOLATED" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "status"), [("right", DONE), ("wrong", VIOLATED), ("missing", NO_ANSWER)])
def test_a_process_of_its_own_ends_with_the_same_status(name: str, status: int, settings: None, files: Files) -> None:
    file = str(files.right.with_name(f"{name}.gz"))
    command = [sys.executable, "-m", "shared.cli", "verify", "--archive", file, "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == status, ended.stderr
    assert bool(ended.stdout) == (status != NO_ANSWER)
