"""Hot tenants: a lane for each process, and transfers of tokens and dollars between lanes (ADR 17).

Two processes that write to one balance row make each other repeat their transactions. So each process leases a lane of
its own. The lease only saves time: the commit protocol keeps the books right whoever writes to a lane.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
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
"""A refusal stands for this long without asking the other lanes again."""
_MAX_LEASES = 1024
_MAX_CLOCK_SKEW = timedelta(minutes=10)
"""Each recovery reads this much again, because a transfer's id has the time of the process that sent it."""

T = TypeVar("T")


class LaneSource(Protocol):
    """The part of the ledger that hot tenants need. All readings raise `LedgerUnavailable`."""

    def committer(self, lane: Lane, opening: Account | None = None) -> Committer:
        """Return the only writer of a lane in this process. `opening` has the limit under which a vault may open."""
        ...

    def lanes(self, period: str, tenant_id: str | None = None) -> AsyncIterator[Lane]:
        """Read the registered lanes of a period, ascending; or those of one tenant."""
        ...

    async def balances(self, tenant_id: str, period: str) -> dict[Lane, Balance]:
        """Read the balances of all lanes of a tenant's period, vault first."""
        ...

    def transfers(self, lane: Lane, since: str) -> AsyncIterator[Transfer]:
        """Read a lane's transfers, sent and received, with ids from `since` on."""
        ...


@dataclass(slots=True)
class _LaneLease:
    """The lane that this process uses for one tenant and period."""

    lane: Lane
    lanes_in_use: int
    """Lanes of all processes, over which the limits a minute are split."""
    renew_at: float
    """Monotonic seconds."""


@dataclass(slots=True)
class _Denial:
    """A refusal to remember: the other lanes together had too little."""

    available: Amount
    """The sum of what the other lanes could give."""
    expires_at: float
    """Monotonic seconds."""
    combined: Balance
    """All lanes as one balance, from which the caller's refusal is written."""


@dataclass(slots=True, eq=False)
class HotLanes:
    """Reserves in this process's lane, and transfers tokens and dollars into it from the others."""

    source: LaneSource
    clock: Clock
    owner: str
    """The name of this process in lane leases."""
    _lane_leases: dict[Lane, _LaneLease] = field(default_factory=dict)
    """By vault."""
    _denials: dict[Lane, _Denial] = field(default_factory=dict)
    """By the lane that lacks something."""
    _tasks: dict[tuple[str, Lane], asyncio.Task[Any]] = field(default_factory=dict)
    """By kind (`lease` or `pull`) and lane."""
    _recover_since: dict[Lane, str] = field(default_factory=dict)
    """By vault: the first transfer id that the next recovery reads."""

    async def reserve(self, account: Account, reservation: Reservation) -> Hold:
        """Hold a reservation in this process's lane, whatever its own says. Raises what `Ledger.reserve` raises."""
        lease = self._lane_leases.get(account.vault)
        if lease is None or lease.renew_at <= self.clock.monotonic() or lease.lane.number > account.lanes:
            lease = await self._join_or_start("lease", account.vault, partial(self._lease_lane, account))
        rate_limits = RateLimits(account.rate_limits.requests, account.rate_limits.tokens, lease.lanes_in_use)
        return await self.reserve_in(account, Reserve(replace(reservation, lane=lease.lane), rate_limits))

    async def reserve_in(self, account: Account, operation: Reserve) -> Hold:
        """Hold a reservation in its lane. Transfers from the other lanes if its lane has too little.

        Raises what `Ledger.reserve` raises. A refusal tells what all lanes together have.
        """
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
        """Adapt every lane to the limit of its vault. Idempotent. Raises `LedgerUnavailable`.

        A lane is unlimited if the tenant is, else it has only what was transferred to it. If a lane has committed more
        than it now has, other lanes transfer the difference as far as they can.
        """
        balances = await self._balances_by_number(account.vault)
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
                await self._join_or_start("pull", lane, partial(self._pull, account, lane, Amount()))

    async def recover(self, vault: Lane, *, is_last: bool = False) -> int:
        """Complete the transfers that were sent but never received; returns their number.

        Reads the transfers since the recovery before. `is_last` reads all, because then the period closes.
        Idempotent: both sides accept a transfer's id once. Raises `LedgerUnavailable`.
        """
        next_since = first_rid(self.clock.now() - _MAX_CLOCK_SKEW)
        since = "" if is_last else self._recover_since.get(vault, "")
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
            with suppress(PeriodNotOpen):  # another process closes the period and has completed it before that
                await self._transfer_in(lane, transfer)
        self._recover_since[vault] = next_since
        return len(lost)

    @property
    def busy(self) -> bool:
        """Tells whether a lease or a pull is under way."""
        return bool(self._tasks)

    async def finish(self) -> None:
        """Return when no lease and no pull is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _lease_lane(self, account: Account) -> _LaneLease:
        """Lease a lane: the one that this process has, else a free one. If none is free, share one without a lease."""
        vault = account.vault
        await self.source.committer(vault, account).submit(Open())
        now = self.clock.now()
        owners = {
            number: balance.owner
            for number, balance in (await self._balances_by_number(vault)).items()
            if 0 < number <= account.lanes and balance.owner_until > timestamp(now)
        }
        own = [number for number, owner in owners.items() if owner == self.owner]
        free = [number for number in range(1, account.lanes + 1) if number not in owners]
        # The shared lane is chosen by the owner's name, so that processes without a lease spread over the lanes.
        shared = 1 + zlib.crc32(self.owner.encode()) % account.lanes
        lane = await self._claim_first(vault, [*own, *free], now) or vault._replace(number=shared)
        renew_at = self.clock.monotonic() + LANE_LEASE_RENEW_SECONDS
        lease = _LaneLease(lane, len(owners.keys() | {lane.number}), renew_at)
        if len(self._lane_leases) >= _MAX_LEASES:
            self._lane_leases.clear()
            self._denials.clear()
        self._lane_leases[vault] = lease
        return lease

    async def _claim_first(self, vault: Lane, numbers: Iterable[int], now: datetime) -> Lane | None:
        """Claim the first of some lanes that no other process has leased meanwhile; `None` if there is none."""
        until = timestamp(now + timedelta(seconds=LANE_LEASE_SECONDS))
        for number in numbers:
            lane = vault._replace(number=number)
            try:
                await self.source.committer(lane).submit(Claim(self.owner, until))
            except LaneLeased:
                continue
            return lane
        return None

    async def _fetch_available(self, account: Account, reservation: Reservation) -> _Denial | None:
        """Pull what a lane lacks for a reservation. Returns why that failed; `None` to try the reservation again."""
        lane = reservation.lane
        seen = self.source.committer(lane).balance
        denial = self._denials.get(lane)
        if denial is not None and seen is not None and self.clock.monotonic() < denial.expires_at:
            is_too_much = shortage(seen, reservation.amount).excess_over(denial.available) != Amount()
            if is_too_much:
                return denial
        is_joining = ("pull", lane) in self._tasks
        denial = await self._join_or_start("pull", lane, partial(self._pull, account, lane, reservation.amount))
        return None if is_joining else denial  # a pull that was joined was for another amount

    async def _pull(self, account: Account, lane: Lane, amount: Amount) -> _Denial | None:
        """Transfer what `lane` lacks to reserve `amount`. Returns the denial if all lanes together have too little."""
        while True:
            balances = await self._balances_by_number(lane)
            own = balances[lane.number]
            others = {number: available(balance) for number, balance in balances.items() if number != lane.number}
            share = first_share(balances[0], account.lanes) if own.transferred == Amount() else Amount()
            chosen = plan_pulls(shortage(own, amount), share, others)
            if own.refusal(amount) is None:  # the committer refused on an older copy of the balance
                self.source.committer(lane).forget_balance()
                return None
            if not chosen:
                expires_at = self.clock.monotonic() + NEGATIVE_CACHE_SECONDS
                together = sum(others.values(), Amount())
                self._denials[lane] = denial = _Denial(together, expires_at, combined([*balances.values()]))
                return denial
            try:
                for number, part in chosen:
                    await self._transfer(lane._replace(number=number), lane, part)
            except InsufficientAvailable:
                continue  # another lane was faster: plan again from the balances as they are now
            return None

    async def _transfer(self, donor: Lane, receiver: Lane, amount: Amount) -> None:
        """Transfer `amount` in two commits. Raises `InsufficientAvailable` if the donor no longer has it."""
        transfer = TransferOut(rid_at(self.clock.now()), receiver.number, amount)
        committer = self.source.committer(donor)
        committer.forget_balance()  # another process writes to that lane
        # The donor's side comes first: a crash in between withholds the amount until `recover`, but never doubles it.
        await committer.submit(transfer)
        await self._transfer_in(donor, transfer)

    async def _transfer_in(self, donor: Lane, transfer: TransferOut) -> None:
        """Commit the receiver's side of a transfer. Idempotent by the transfer's id."""
        receiver = donor._replace(number=transfer.other)
        await self.source.committer(receiver).submit(TransferIn(transfer.xid, donor.number, transfer.amount))

    async def _balances_by_number(self, lane: Lane) -> dict[int, Balance]:
        """Read the balances of all lanes of the tenant and period of `lane`, vault first."""
        return {
            each.number: balance for each, balance in (await self.source.balances(lane.tenant_id, lane.period)).items()
        }

    async def _join_or_start(self, kind: str, lane: Lane, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Wait for the task of this kind and lane; start it if none runs. Returns its result or raises its error."""
        task = self._tasks.get((kind, lane))
        if task is None:
            task = self._tasks[kind, lane] = asyncio.create_task(start())
            task.add_done_callback(lambda _: self._tasks.pop((kind, lane)))
        await asyncio.wait([task])  # unlike awaiting the task, this does not cancel it with one of its callers
        result: T = task.result()
        return result
