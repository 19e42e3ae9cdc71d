"""A process of its own that delivers alerts once, for tests that kill it. `AHEAD_SECONDS` moves its clock."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timedelta

from shared.adapters.clock import StorageClock
from shared.composition.gateway import build
from shared.settings import read_settings


class LaterClock(StorageClock):
    def now(self) -> datetime:
        return super().now() + timedelta(seconds=float(os.environ.get("AHEAD_SECONDS", "0")))


async def main() -> None:
    gateway = await build(read_settings(), LaterClock())
    try:
        await gateway.alerts.deliver()
    finally:
        await gateway.aclose()


if __name__ == "__main__":
    asyncio.run(main())
