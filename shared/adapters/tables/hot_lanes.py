"""Hot tenants: a lane for each process, and the room that moves between lanes.

Two processes that write to one balance row make each other repeat, so a busy tenant gets a lane for each. Which process
has which lane is a matter of speed only: the commit protocol keeps the books right whoever writes.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

from shared.adapters.tables.committer import Committer
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Hold
from shared.domain.errors import PeriodExhausted, PeriodNotOpen
from shared.domain.identifiers import first_rid, rid_at, timestamp
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Account, Balance, Lane, LaneState
from shared.domain.ledger.entries import Reservation
from shared.domain.ledger.lanes import available, combined, first_share, lane_limit, plan_pulls, shortage
from shared.domain.ledger.operations import (
    ChangeLimit,
    Claim,
    InsufficientAvailable,
    LaneLeased,
    Open,
    Reserve,
    Transfer,
    TransferIn,
    TransferOut,
)
from shared.domain.ledger.refusals import refused
from shared.domain.rate_limit import RateLimits

LANE_LEASE_SECONDS = 60.0
LANE_LEASE_RENEW_SECONDS = 20.0
NEGATIVE_CACHE_SECONDS = 1.0
_MAX_REMEMBERED = 1024
_OLDEST_TRANSFER = timedelta(minutes=10)
"""How far the clocks of two processes may be apart before a transfer is looked for in vain until the next start."""

T = TypeVar("T")


class Lanes(Protocol):
    """What is needed of the ledger."""

    def committer(self, lane: Lane, opening: Account | None = None) -> Committer:
        """The only writer of a lane in this process."""
        ...

    def lanes(self, period: str, tenant_id: str | None = None) -> AsyncIterator[Lane]:
        """The lanes that exist."""
        ...

    async def balances(self, tenant_id: str, period: str) -> dict[Lane, Balance]:
        """The balances of all lanes of a tenant's period, vault first."""
        ...

    def transfers(self, lane: Lane, since: str) -> AsyncIterator[Transfer]:
        """Both directions of a lane's transfers, those with an id from `since` on."""
        ...


@dataclass(slots=True)
class _LaneLease:
    """The lane that this process uses for a tenant's period, and how many lanes are in use."""

    lane: Lane
    in_use: int
    renew_at: float


@dataclass(slots=True)
class _Denial:
    """All that the other lanes had was `available`, which was not enough."""

    available: Amount
    until: float
    combined: Balance


@dataclass(slots=True, eq=False)
class HotLanes:
    """Reserves in this process's lane, and fetches room for it from the others."""

    source: Lanes
    clock: Clock
    owner: str
    _lane_leases: dict[Lane, _LaneLease] = field(default_factory=dict)
    _denials: dict[Lane, _Denial] = field(default_factory=dict)
    _running: dict[tuple[str, Lane], asyncio.Task[Any]] = field(default_factory=dict)
    _matched_before: dict[Lane, str] = field(default_factory=dict)

    async def reserve(self, account: Account, reservation: Reservation) -> Hold:
        """Hold in a lane of this process's own. Raises what `Ledger.reserve` does."""
        lease = self._lane_leases.get(account.vault)
        if lease is None or lease.renew_at <= self.clock.monotonic() or lease.lane.number > account.lanes:
            lease = await self._once("lease", account.vault, partial(self._lease_lane, account))
        rate_limits = RateLimits(account.rate_limits.requests, account.rate_limits.tokens, lease.in_use)
        return await self.reserve_in(account, Reserve(replace(reservation, lane=lease.lane), rate_limits))

    async def reserve_in(self, account: Account, operation: Reserve) -> Hold:
        """Hold in the lane of the reservation, with room from the others if it lacks some."""
        reservation = operation.reservation
        committer = self.source.committer(reservation.lane)
        while True:
            try:
                return Hold(reservation, await committer.submit(operation), operation.rate_limits)
            except PeriodExhausted:
                denial = await self._fetch_available(account, reservation)
                if denial is None:
                    continue
                refusal = denial.combined.refusal(reservation.amount)
                if refusal is None:
                    raise
                period, now = reservation.lane.period, self.clock.now()
                raise refused(operation, refusal, denial.combined, period, now) from None

    async def align_limits(self, account: Account, actor: str, reason: str) -> None:
        """Make every lane fit its vault, whose limit has changed; repeating it is harmless.

        A lane has no limit where the tenant has none, else none of its own. What it holds beyond its room, the others
        cover as far as they can.
        """
        balances = await self._survey(account.vault)
        if len(balances) < 2:
            return
        own = lane_limit(balances[0].limit)
        for number, balance in balances.items():
            if balance.state is not LaneState.OPEN:
                continue
            lane, current = account.vault._replace(number=number), balance
            if number and balance.limit != own:
                current = await self.source.committer(lane).submit(ChangeLimit(own, actor, reason))
            if shortage(current, Amount()) != Amount():
                await self._once("pull", lane, partial(self._pull, account, lane, Amount()))

    async def recover(self, vault: Lane, *, is_last: bool = False) -> int:
        """Complete the transfers that went out of one lane and never came into the other; returns how many.

        The last time, before a period closes, all are looked at; else those since the round before.
        """
        began = first_rid(self.clock.now() - _OLDEST_TRANSFER)
        since = "" if is_last else self._matched_before.get(vault, "")
        out: dict[str, tuple[Lane, TransferOut]] = {}
        arrived: set[str] = set()
        async for lane in self.source.lanes(vault.period, vault.tenant_id):
            async for transfer in self.source.transfers(lane, since):
                if isinstance(transfer, TransferOut):
                    out[transfer.xid] = lane, transfer
                else:
                    arrived.add(transfer.xid)
        lost = [each for xid, each in out.items() if xid not in arrived]
        for lane, transfer in lost:
            with suppress(PeriodNotOpen):  # somebody who closes the period has completed it first
                await self._arrive(lane, transfer)
        self._matched_before[vault] = began
        return len(lost)

    @property
    def busy(self) -> bool:
        return bool(self._running)

    async def finish(self) -> None:
        """Return when nothing is under way."""
        while self._running:
            await asyncio.wait(self._running.values())

    async def _lease_lane(self, account: Account) -> _LaneLease:
        """This process's lane: the one that it has, else a free one, else it shares one."""
        vault = account.vault
        await self.source.committer(vault, account).submit(Open())
        now = self.clock.now()
        taken = {
            number: balance.owner
            for number, balance in (await self._survey(vault)).items()
            if 0 < number <= account.lanes and balance.owner_until > timestamp(now)
        }
        mine = [number for number, owner in taken.items() if owner == self.owner]
        free = [number for number in range(1, account.lanes + 1) if number not in taken]
        until = timestamp(now + timedelta(seconds=LANE_LEASE_SECONDS))
        lane = vault._replace(number=1 + zlib.crc32(self.owner.encode()) % account.lanes)
        for number in [*mine, *free]:
            claimed = vault._replace(number=number)
            try:
                await self.source.committer(claimed).submit(Claim(self.owner, until))
            except LaneLeased:
                continue
            lane = claimed
            break
        lease = _LaneLease(lane, len(taken.keys() | {lane.number}), self.clock.monotonic() + LANE_LEASE_RENEW_SECONDS)
        if len(self._lane_leases) >= _MAX_REMEMBERED:
            self._lane_leases.clear()
            self._denials.clear()
        self._lane_leases[vault] = lease
        return lease

    async def _fetch_available(self, account: Account, reservation: Reservation) -> _Denial | None:
        """Pull room for a reservation, or tell why not: `None` means that it is worth another try."""
        lane = reservation.lane
        seen = self.source.committer(lane).balance
        denial = self._denials.get(lane)
        if denial is not None and seen is not None and self.clock.monotonic() < denial.until:
            is_too_much = shortage(seen, reservation.amount).excess_over(denial.available) != Amount()
            if is_too_much:
                return denial
        is_under_way = ("pull", lane) in self._running
        result = await self._once("pull", lane, partial(self._pull, account, lane, reservation.amount))
        return None if is_under_way else result

    async def _pull(self, account: Account, lane: Lane, amount: Amount) -> _Denial | None:
        """Fetch what `lane` lacks to reserve `amount`."""
        while True:
            balances = await self._survey(lane)
            own = balances[lane.number]
            others = {number: available(balance) for number, balance in balances.items() if number != lane.number}
            share = first_share(balances[0], account.lanes) if own.transferred == Amount() else Amount()
            chosen = plan_pulls(shortage(own, amount), share, others)
            if own.refusal(amount) is None:  # the committer refused on an older copy
                self.source.committer(lane).forget_balance()
                return None
            if not chosen:
                until = self.clock.monotonic() + NEGATIVE_CACHE_SECONDS
                together = sum(others.values(), Amount())
                self._denials[lane] = denial = _Denial(together, until, combined([*balances.values()]))
                return denial
            try:
                for number, part in chosen:
                    await self._transfer(lane._replace(number=number), lane, part)
            except InsufficientAvailable:
                continue  # somebody else has got it
            return None

    async def _transfer(self, donor: Lane, receiver: Lane, amount: Amount) -> None:
        """Raises `InsufficientAvailable` where the donor no longer has `amount`."""
        transfer = TransferOut(rid_at(self.clock.now()), receiver.number, amount)
        giving = self.source.committer(donor)
        giving.forget_balance()  # another process writes there
        await giving.submit(transfer)
        await self._arrive(donor, transfer)

    async def _arrive(self, donor: Lane, transfer: TransferOut) -> None:
        receiver = donor._replace(number=transfer.other)
        await self.source.committer(receiver).submit(TransferIn(transfer.xid, donor.number, transfer.amount))

    async def _survey(self, lane: Lane) -> dict[int, Balance]:
        """The balances of all lanes of a tenant's period by number, vault first."""
        return {
            each.number: balance for each, balance in (await self.source.balances(lane.tenant_id, lane.period)).items()
        }

    async def _once(self, kind: str, lane: Lane, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What a task of this kind for this lane gives: the one that runs, else a new one. It outlives its callers."""
        task = self._running.get((kind, lane))
        if task is None:
            task = self._running[kind, lane] = asyncio.create_task(start())
            task.add_done_callback(lambda _: self._running.pop((kind, lane)))
        await asyncio.wait([task])
        result: T = task.result()
        return result
