"""Faults that tests arm: which requests they hit, how often, and what they do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

KINDS = frozenset(
    {"status", "refuse", "hang", "stall", "break", "end", "malformed", "no_usage", "slow", "lie", "script"}
)


@dataclass(slots=True)
class Fault:
    """`region`, `deployment`: which requests; `None` means any. `count`: how many; `None` means until deleted.

    `status` answers so, with `headers` and `body`; `refuse` drops the connection unanswered; `hang` never sends the
    head; `stall` stops after `after_chunks` events (or half a buffered body) until faults are deleted; `break` drops
    the connection there; `end` ends the stream there as if it were complete; `malformed` sends an event or body that
    is not JSON; `no_usage` leaves usage out; `slow` sends the head after `delay_ms`, or once faults are deleted; `lie`
    states the members of `body` in place of its own (a `usage` only where one is stated); `script` streams `events`,
    and `ending` after them as it is.
    """

    kind: str
    region: str | None = None
    deployment: str | None = None
    count: int | None = 1
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    events: list[Any] = field(default_factory=list)
    ending: str = ""
    after_chunks: int = 3
    delay_ms: float = 100

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(sorted(KINDS))}")


class Faults:
    """The armed faults. Deleting them releases whatever hangs or stalls."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []
        self._released = asyncio.Event()

    def arm(self, fault: Fault) -> None:
        self._armed.append(fault)

    def clear(self) -> None:
        self._armed.clear()
        self._released.set()
        self._released = asyncio.Event()

    def take(self, region: str, deployment: str) -> Fault | None:
        """The first fault that this request hits, used up by one."""
        for fault in self._armed:
            if fault.region in (None, region) and fault.deployment in (None, deployment):
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count <= 0:
                        self._armed.remove(fault)
                return fault
        return None

    async def release(self) -> None:
        """Return when faults are deleted."""
        await self._released.wait()
