"""The functions host on a machine whose clock is wrong by `SKEW_SECONDS`. The clock of storage is right.

All times are moved by `AHEAD_SECONDS`, so that a test chooses when the month ends. With arguments it is the command
`tallygate` instead, by the same clock.
"""

from __future__ import annotations

import os
import sys
import time

from local.functions_host.__main__ import main
from shared.adapters.clock import StorageClock
from shared.cli.__main__ import run
from shared.composition import adapters


class SkewedClock(StorageClock):
    def _machine_time(self) -> float:
        return time.time() + float(os.environ["AHEAD_SECONDS"]) + float(os.environ["SKEW_SECONDS"])

    def _storage_time(self, date: bytes) -> float | None:
        stated = super()._storage_time(date)
        return None if stated is None else stated + float(os.environ["AHEAD_SECONDS"])


if __name__ == "__main__":
    assert vars(adapters).get("StorageClock") is StorageClock, "the clock is made elsewhere"
    setattr(adapters, "StorageClock", SkewedClock)  # noqa: B010 - the one place that makes a clock
    sys.exit(run(sys.argv[1:]) if sys.argv[1:] else main())
