"""The heads of the ledger's chains: one for each lane."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Set
from typing import Final, TypeVar

from shared.application.ports.ledger import Ledger
from shared.application.sweep import Failures
from shared.domain.audit.anchor_files import ChainHead, unread_head
from shared.domain.errors import RowsDamaged
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Lane, LaneState

T = TypeVar("T")
AT_ONCE: Final = 16
_CHAIN: Final = re.compile(r"ledger/(\d{4}-\d\d)/([^|/]+)\|(\d\d)")


def group_of_period(period: object) -> str:
    """Return the group of a billing period's lanes, for example `ledger/2026-11`."""
    return f"ledger/{period}"


def chain_of(lane: Lane) -> str:
    """Return the name of a lane's chain, for example `ledger/2026-11/acme|00`."""
    return f"{group_of_period(lane.period)}/{lane.tenant_id}|{lane.number:02}"


def lane_of_chain(chain: str) -> Lane | None:
    """Return the lane of a chain; `None` if it is the chain of something else."""
    found = _CHAIN.fullmatch(chain)
    return Lane(found[2], found[1], int(found[3])) if found else None


class LedgerHeads:
    """Implements `HeadSource` for the lanes of all periods that are not final. A damaged lane stops no other."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def heads(self, final: Set[str]) -> AsyncIterator[ChainHead]:
        failures = Failures()
        for period in await self._periods(failures):
            if group_of_period(period) in final:
                continue
            lanes = await self._lanes(period, failures)
            for start in range(0, len(lanes), AT_ONCE):
                some = lanes[start : start + AT_ONCE]
                for head in await asyncio.gather(*(self._head(lane, failures) for lane in some)):
                    if head is not None:
                        yield head
        failures.raise_any()

    async def _periods(self, failures: Failures) -> list[BillingPeriod]:
        return await _listed("the periods", self._ledger.periods(), failures)

    async def _lanes(self, period: BillingPeriod, failures: Failures) -> list[Lane]:
        return await _listed(f"the lanes of {period}", self._ledger.lanes(str(period)), failures)

    async def _head(self, lane: Lane, failures: Failures) -> ChainHead | None:
        """Read the head of a lane; `None` for a lane that was registered and never opened."""
        chain = chain_of(lane)
        try:
            balance = await self._ledger.balance(lane)
        except Exception as error:  # noqa: BLE001 - raised at the end, with its chain
            failures.add(chain, error)
            return unread_head(chain)
        if balance is None:
            return None
        is_closed = balance.state is LaneState.CLOSED
        return ChainHead(chain=chain, seq=balance.seq, head=balance.head, is_closed=is_closed)


async def _listed(name: str, items: AsyncIterator[T], failures: Failures) -> list[T]:
    """List items. Rows that cannot be read are a failure, and hide no others."""
    found: list[T] = []
    try:
        async for item in items:
            found.append(item)  # noqa: PERF401 - those before the error count
    except RowsDamaged as error:
        failures.add(name, error)
    return found
