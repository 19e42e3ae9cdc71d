"""Statistics of the paired bench: ratios of rounds, their median and its interval, the verdict against a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import comb
from statistics import median
from typing import Final, Literal, TypeAlias

Side: TypeAlias = Literal["old", "new"]
OLD: Final = "old"
NEW: Final = "new"
FEWEST_ROUNDS = 6
"""With fewer, even the range from the least to the greatest ratio covers the median with less than 95%."""
_TAIL = 0.025


class Verdict(StrEnum):
    """Position of an interval to its bar. Only `FAILED` fails a comparison."""

    KEPT = "kept"
    UNDECIDED = "undecided"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Median of the ratios new/old, with its 95% interval."""

    ratio: float
    lower: float
    upper: float
    verdict: Verdict


def order_of_block(number: int) -> tuple[Side, Side, Side, Side]:
    """Four measurements: ABBA, then BAAB, so that a steady drift of the machine cancels out."""
    return (OLD, NEW, NEW, OLD) if number % 2 == 0 else (NEW, OLD, OLD, NEW)


def ratio_of_round(measured: Sequence[tuple[Side, float]]) -> float:
    """CPU of the new checkout in one round, divided by that of the old one."""
    old, new = (sum(cpu for side, cpu in measured if side == wanted) for wanted in (OLD, NEW))
    return new / old


def median_interval(ratios: Sequence[float]) -> tuple[float, float]:
    """The 95% confidence interval of the median, by order statistics: no distribution is assumed.

    Source: inversion of the sign test. The k-th least and the k-th greatest of n values enclose the median unless
    fewer than k fall on one side of it, which has the probability of a binomial tail.

    Raises `ValueError` for fewer than six ratios.
    """
    if len(ratios) < FEWEST_ROUNDS:
        raise ValueError(f"An interval of 95% takes at least {FEWEST_ROUNDS} rounds, not {len(ratios)}.")
    in_order = sorted(ratios)
    outside = _ranks_outside(len(ratios))
    return in_order[outside], in_order[-1 - outside]


def compared(ratios: Sequence[float], bar: float) -> Paired:
    """Judge the ratios: the bar fails only if the lower end of the interval exceeds it."""
    lower, upper = median_interval(ratios)
    return Paired(ratio=median(ratios), lower=lower, upper=upper, verdict=_verdict(lower, upper, bar))


def _ranks_outside(count: int) -> int:
    """The most values that may be cut off at each end: at most 2.5% probability that the median goes with them."""
    outside, tail = 0, 1 / 2**count
    while (tail := tail + comb(count, outside + 1) / 2**count) <= _TAIL:
        outside += 1
    return outside


def _verdict(lower: float, upper: float, bar: float) -> Verdict:
    if lower > bar:
        return Verdict.FAILED
    return Verdict.KEPT if upper <= bar else Verdict.UNDECIDED
