"""The functions host with a clock that is `SKEW_SECONDS` off, as a machine's clock may be."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta

from local.functions_host.__main__ import main
from shared import composition
from shared.adapters.clock import SystemClock


class SkewedClock(SystemClock):
    def now(self) -> datetime:
        return super().now() + timedelta(seconds=float(os.environ["SKEW_SECONDS"]))


if __name__ == "__main__":
    setattr(composition, "SystemClock", SkewedClock)  # noqa: B010 - the one place that makes a clock
    sys.exit(main())
