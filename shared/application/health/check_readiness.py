"""Check that this process could serve a request now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from shared.application.cached_value import Cached
from shared.application.health.parts import Check
from shared.application.ports.clock import Clock
from shared.application.structured_log import fields_of, log_event
from shared.domain.errors import GatewayError
from shared.domain.health.readiness import PartState, PartStates

PART: Final = "gateway.part"
CHECK_SECONDS: Final = 6.0
"""The longest time of a check. A part that is silent for longer has failed."""


class CheckReadiness:
    """Checks all parts at once, in the background. A caller waits only if the last result is older than 25 s."""

    def __init__(self, checks: Mapping[str, Check], clock: Clock, check_seconds: float = CHECK_SECONDS) -> None:
        self._checks = checks
        self._check_seconds = check_seconds
        self._states = Cached(self._check_all, clock)

    async def __call__(self) -> PartStates:
        """Return the state of each part. Raises nothing."""
        return await self._states.get()

    async def _check_all(self) -> PartStates:
        states = await asyncio.gather(*(self._check(part, check) for part, check in self._checks.items()))
        return PartStates(dict(zip(self._checks, states, strict=True)))

    async def _check(self, part: str, check: Check) -> PartState:
        try:
            async with asyncio.timeout(self._check_seconds):
                return await check()
        except (GatewayError, TimeoutError):
            return PartState.FAILED
        except Exception as error:  # noqa: BLE001 - a defect, which must not hide the other parts
            log_event(logging.ERROR, "gateway.check.failed", {PART: part, **fields_of(error)})
            return PartState.FAILED
