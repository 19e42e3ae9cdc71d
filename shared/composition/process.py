"""The gateway of this process: built when the first request or timer needs it."""

from __future__ import annotations

import asyncio
import gc

from shared.composition.gateway import Gateway, build
from shared.settings import read_settings

COLLECTOR_THRESHOLDS = (50_000, 20, 100)
_gateway: asyncio.Task[Gateway] | None = None


def current_gateway() -> asyncio.Future[Gateway]:
    """Return the gateway of this process; builds it from the environment on the first call.

    Raises `SettingsInvalid` when awaited. After a failure the next call builds anew.
    """
    global _gateway  # noqa: PLW0603 - a process has one gateway
    if _gateway is None or (_gateway.done() and _gateway.exception() is not None):
        _gateway = asyncio.create_task(build(read_settings()))
        _gateway.add_done_callback(settle_heap)
    return _gateway if _gateway.done() else asyncio.shield(_gateway)


def settle_heap(_: object = None) -> None:
    """Exempt everything that was imported from garbage collection, and collect less often (ADR 12)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


async def close_current_gateway() -> None:
    """Finish and release the gateway of this process, if there is one."""
    global _gateway
    if _gateway is not None:
        gateway, _gateway = await _gateway, None
        await gateway.aclose()
