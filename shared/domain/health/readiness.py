"""Readiness of one process: which of the parts that it needs can be used."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from shared.domain.values import value


class PartState(StrEnum):
    """The state of a part."""

    OK = "ok"
    FAILED = "failed"
    UNUSED = "unused"
    """The settings need no such part."""


class Readiness(StrEnum):
    """The state of the whole process."""

    READY = "ready"
    DEGRADED = "degraded"
    """Requests can be served or refused rightly, and somebody should look."""
    NOT_READY = "not_ready"
    """No request can be served, so that other processes should get them."""


REQUIRED: Final = frozenset({"configuration", "identity", "ledger"})
"""The parts without which nothing is served. A dead backend is no reason to take every process out."""


@value
class PartStates:
    """The state of each part, by name."""

    parts: Mapping[str, PartState]

    @property
    def failed(self) -> list[str]:
        """The names of the parts that cannot be used, sorted."""
        return sorted(name for name, state in self.parts.items() if state is PartState.FAILED)

    @property
    def readiness(self) -> Readiness:
        """The state of the whole process."""
        if not self.failed:
            return Readiness.READY
        return Readiness.DEGRADED if REQUIRED.isdisjoint(self.failed) else Readiness.NOT_READY
