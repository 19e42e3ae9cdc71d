"""Values counted by bucket, with their sum and extremes."""

from __future__ import annotations

from bisect import bisect_left


class Distribution:
    """Values of one series. Each is counted in the bucket with the least bound that is not below it."""

    __slots__ = ("bounds", "counts", "largest", "smallest", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.smallest = float("inf")
        self.largest = float("-inf")

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
        if value < self.smallest:
            self.smallest = value
        if value > self.largest:
            self.largest = value

    def merge(self, other: Distribution) -> None:
        """Count all values of another distribution with the same bounds."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)
