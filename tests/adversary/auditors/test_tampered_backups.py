"""A backup keeps what was tampered with, so that `tallygate verify --archive` finds it there."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.cli.__main__ import run
from tests.adversary.auditors.conftest import CLOSED, OPEN, KeptBooks
from tests.adversary.auditors.test_tampering import TAMPERINGS, Captured, names, verified

KEPT = (
    "an entry gets another property",
    "a status is text",
    "a number is a fraction",
    "an entry loses its mac",
    "an entry loses all that earlier versions did not write",
    "an entry stands beyond the last",
    "an entry stands between two",
    "the balance is deleted",
    "the balance gets a property",
    "a closed lane is open again",
    "a marker is of nothing",
    "a mark is deleted",
    "a row is of no kind",
    "the rollups have a row of no kind",
    "a lane is not registered",
    "rows stand in a partition of their own",
    "the registry has a property",
)


def backed_up(period: str, folder: Path, capsys: Captured) -> str:
    """Write a backup. Returns its path."""
    file = str(folder / "books.gz")
    assert run(["backup", "--period", period, "--file", file]) == 0
    capsys.readouterr()
    return file


@pytest.mark.parametrize("period", [CLOSED, OPEN])
def test_a_backup_of_books_that_nobody_tampered_with_holds(
    period: str, books: KeptBooks, tmp_path: Path, capsys: Captured
) -> None:
    status, document = verified(capsys, "--archive", backed_up(period, tmp_path, capsys))
    assert (status, document["findings"]) == (0, [])


@pytest.mark.parametrize("name", KEPT)
def test_a_backup_shows_what_was_tampered_with(name: str, books: KeptBooks, tmp_path: Path, capsys: Captured) -> None:
    tampering = TAMPERINGS[name]
    tampering.change(books.tables)
    status, document = verified(capsys, "--archive", backed_up(tampering.period, tmp_path, capsys))
    assert status == 1
    assert any(names(finding, tampering) for finding in document["findings"]), document["findings"]
