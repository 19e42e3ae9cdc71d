"""The gateway of this process, which the first request or timer builds."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

from shared.composition.gateway import Gateway, build
from shared.composition.refused_start import tell_refused
from shared.setting_problems import SettingsInvalid
from shared.settings import Settings, read_settings

COLLECTOR_THRESHOLDS = (50_000, 20, 100)

_gateway: asyncio.Task[Gateway] | None = None


def check_settings() -> None:
    """Tell what is wrong with the settings, so that it is seen at start. The app starts all the same, to answer so."""
    with suppress(SettingsInvalid):
        _settings()


def _settings() -> Settings:
    try:
        return read_settings(generate=True)
    except SettingsInvalid as error:
        tell_refused(error)
        raise


def current_gateway() -> asyncio.Future[Gateway]:
    """Return the gateway of this process. The first call builds it from the environment.

    Awaiting it raises `SettingsInvalid` if settings are missing or wrong. After a failure the next call builds again.
    """
    global _gateway  # noqa: PLW0603 - a process has one gateway
    if _gateway is None or (_gateway.done() and _gateway.exception() is not None):
        _gateway = asyncio.create_task(build(_settings()))
        _gateway.add_done_callback(settle_heap)
        _gateway.add_done_callback(_tell_if_refused)
        _gateway.add_done_callback(_keep_telling)
    return _gateway if _gateway.done() else asyncio.shield(_gateway)


def _tell_if_refused(built: asyncio.Task[Gateway]) -> None:
    """Tell settings that are found to be wrong only while the gateway is built, such as those of the first backend."""
    error = None if built.cancelled() else built.exception()
    if isinstance(error, SettingsInvalid):
        tell_refused(error)


def _keep_telling(built: asyncio.Task[Gateway]) -> None:
    """Let a gateway that was built tell other processes every minute that it lives, until it is closed."""
    if built.cancelled() or built.exception() is not None:
        return
    gateway = built.result()
    telling = asyncio.create_task(gateway.health.tell_instance.keep_telling())

    async def end() -> None:
        telling.cancel()
        await asyncio.wait([telling])

    gateway.resources.push_async_callback(end)


def settle_heap(_: object = None) -> None:
    """Exempt all objects that exist now from garbage collection, and collect less often (ADR 12)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


async def close_current_gateway() -> None:
    """Close the gateway of this process, if there is one."""
    global _gateway
    if _gateway is not None:
        gateway, _gateway = await _gateway, None
        await gateway.aclose()
