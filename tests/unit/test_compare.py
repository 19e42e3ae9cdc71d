"""The paired bench: its order, its interval, its verdict, and the gateways it starts."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.checkouts import checkout, python_of
from bench.compare import _parser, main, scenarios
from bench.paired import NEW, OLD, Paired, Verdict, compared, median_interval, order_of_block, ratio_of_round


def test_a_block_is_symmetric_and_the_next_one_begins_with_the_other() -> None:
    assert order_of_block(0) == (OLD, NEW, NEW, OLD)
    assert order_of_block(1) == (NEW, OLD, OLD, NEW)
    assert order_of_block(2) == order_of_block(0)


@pytest.mark.parametrize("number", [0, 1])
def test_a_machine_that_slows_down_steadily_leaves_the_ratio_of_a_round_unchanged(number: int) -> None:
    cost = {OLD: 100.0, NEW: 110.0}
    drift = itertools.count(start=0, step=7)
    measured = [(side, cost[side] + next(drift)) for side in order_of_block(number)]
    slower = 1.5 * 7
    assert ratio_of_round(measured) == pytest.approx((110 + slower) / (100 + slower))


@pytest.mark.parametrize(
    ("count", "lowest", "highest"),
    [(6, 1, 6), (8, 1, 8), (9, 2, 8), (20, 6, 15), (30, 10, 21), (100, 40, 61)],  # tables of the sign test
)
def test_the_interval_lies_between_two_of_the_ratios_in_order(count: int, lowest: int, highest: int) -> None:
    ratios = [float(number) for number in range(1, count + 1)]
    random.Random(1).shuffle(ratios)
    assert median_interval(ratios) == (lowest, highest)


def test_fewer_than_six_ratios_have_no_interval() -> None:
    with pytest.raises(ValueError, match="at least 6"):
        median_interval([1.0] * 5)


def test_the_interval_misses_the_median_in_at_most_one_of_twenty_runs_whatever_the_distribution() -> None:
    chance = random.Random(13)
    runs = [median_interval([chance.lognormvariate(0, 1) for _ in range(20)]) for _ in range(2000)]
    missed = sum(not low <= 1.0 <= high for low, high in runs)
    assert 0.02 < missed / len(runs) < 0.06  # 4.1% by the binomial distribution


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.00] * 20, Verdict.KEPT),
        ([1.00] * 14 + [1.20] * 6, Verdict.UNDECIDED),  # the fifteenth of twenty is over the bar, the sixth is not
        ([1.20] * 15 + [1.04] * 5, Verdict.FAILED),  # the sixth of twenty is over the bar
        ([1.20] * 14 + [1.04] * 6, Verdict.UNDECIDED),
        ([1.05] * 20, Verdict.KEPT),  # the bar itself is allowed
    ],
)
def test_a_bar_fails_only_if_the_lower_end_of_the_interval_exceeds_it(ratios: list[float], verdict: Verdict) -> None:
    assert compared(ratios, bar=1.05).verdict is verdict


def test_a_comparison_states_the_median_of_the_ratios_and_their_interval() -> None:
    ratios = [0.5] * 5 + [1.0] * 5 + [1.25] * 10
    assert compared(ratios, bar=1.05) == Paired(ratio=1.125, lower=1.0, upper=1.25, verdict=Verdict.UNDECIDED)


def test_a_folder_is_measured_in_place(tmp_path: Path) -> None:
    with checkout(str(tmp_path), repository=Path("nowhere")) as folder:
        assert folder == tmp_path


def test_a_git_ref_is_unpacked_and_removed(tmp_path: Path) -> None:
    repository = _repository_with_two_commits(tmp_path)
    with checkout("HEAD~1", repository) as folder:
        assert (folder / "file").read_text() == "old"
    assert not folder.exists()
    assert (repository / "file").read_text() == "new"


def test_an_old_side_that_is_no_folder_and_no_ref_is_refused_by_name(tmp_path: Path) -> None:
    repository = _repository_with_two_commits(tmp_path)
    with pytest.raises(ValueError, match="'no-such-ref' is neither a folder nor a git ref"):
        with checkout("no-such-ref", repository):
            pytest.fail("it was checked out")


def test_a_python_can_be_named_by_its_path_from_any_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert python_of(sys.executable, Path("nowhere")) == sys.executable
    monkeypatch.chdir(Path(sys.executable).parent)
    name = Path(sys.executable).name
    assert python_of(f"./{name}", Path("nowhere")) == str(Path.cwd() / name)


def test_a_python_can_be_named_by_its_version() -> None:
    assert python_of(f"3.{sys.version_info.minor}", Path("nowhere")) == sys.executable


@pytest.mark.parametrize("unknown", ["3.99", "no-such-python"])
def test_a_missing_python_is_refused_by_name(unknown: str) -> None:
    with pytest.raises(ValueError, match=re.escape(unknown)):
        python_of(unknown, Path("nowhere"))


def test_each_number_of_clients_is_a_scenario_and_streams_only_if_wanted() -> None:
    few = _parser().parse_args(["--old", "main", "--clients", "1,16", "--no-streams"])
    assert [each.name for each in scenarios(few)] == ["buffered, memory, 1 client", "buffered, memory, 16 clients"]
    many = _parser().parse_args(["--old", "main", "--clients", "64", "--tables"])
    assert [each.name for each in scenarios(many)] == [
        "buffered, memory, 64 clients",
        "streamed, memory, 64 clients",
        "buffered, Azurite, 64 clients",
    ]


def test_too_few_rounds_are_refused_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--old", "no-such-ref", "--rounds", "5"]) == 2
    assert "At least 6 rounds" in capsys.readouterr().err


def _repository_with_two_commits(folder: Path) -> Path:
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    repository = folder / "repository"
    repository.mkdir()
    subprocess.run(["git", "init", "-q", repository], check=True)
    for text in ("old", "new"):
        (repository / "file").write_text(text)
        subprocess.run(["git", "-C", repository, "add", "file"], check=True)
        subprocess.run(["git", "-C", repository, *identity, "commit", "-qm", text], check=True)
    return repository
