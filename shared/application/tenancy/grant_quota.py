"""Grant tokens and dollars beyond a tenant's quota and budget, so that a grant and its audit event are one fact."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final

from shared.application.audit.record_audit import Actor
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.ports.tenancy import GrantRequests, TenantDirectory, Versioned
from shared.application.sweep import Failures
from shared.domain.audit.events import AuditEvent
from shared.domain.errors import (
    AlreadyExists,
    InvalidRequest,
    NotFound,
    PeriodNotOpen,
    StorageUnavailable,
    VersionConflict,
)
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account
from shared.domain.ledger.grants import raised_limit
from shared.domain.tenancy.grant import GrantName, RequestedGrant, TenantGrant

_GATEWAY: Final = Actor(name="gateway")
_ABANDONED: Final = timedelta(minutes=2)
"""The age at which a request is that of a process that died. A younger one may be in progress."""


class GrantQuota:
    """Books a grant in three steps, each of which is one transaction.

    1. The request is stored together with its event.
    2. The ledger books the grant. It does that once for each id.
    3. The request is deleted: alone if the grant is booked, together with a second event if the ledger refuses it.

    If the process dies in between, the timer goes on from the request. Whoever goes on takes the request over first, so
    that no other process ends it in another way.
    """

    def __init__(self, requests: GrantRequests, ledger: Ledger, clock: Clock) -> None:
        self._requests = requests
        self._ledger = ledger
        self._clock = clock

    async def __call__(self, account: Account, requested: RequestedGrant, actor: Actor) -> Limit:
        """Book a grant, and return the period's limit right after it. A grant that is booked has no second event.

        Raises `InvalidRequest`, `PeriodNotOpen`, and `AlreadyExists` for an id that has another amount. After
        `StorageUnavailable` or `LedgerUnavailable` the grant may be booked later, by the timer.
        """
        while (granted := await self._ledger.granted(account, requested.grant_id)) is None:
            raised_limit(account.limit, requested.amount)  # most refusals need no event
            with suppress(VersionConflict):  # another process goes on with the request: see what became of it
                return await self.book(account, await self._stored(requested, actor), actor)
        _require_same(requested, granted.amount)
        return granted.limit

    async def _stored(self, requested: RequestedGrant, actor: Actor) -> Versioned[RequestedGrant]:
        """Store a request, or take over the stored one of its name. Raises `VersionConflict` and `AlreadyExists`."""
        found = await self._requests.find(requested.name)
        if found is not None:
            _require_same(requested, found.value.amount)
            return await self._requests.take_over(found)
        try:
            return await self._requests.add(requested, self._event(actor, "tenant.grant", requested, requested.reason))
        except AlreadyExists:
            raise VersionConflict from None

    async def book(self, account: Account, owned: Versioned[RequestedGrant], actor: Actor) -> Limit:
        """Book a request that this process has stored or taken over, and delete it. Raises as the ledger does.

        Raises `VersionConflict` if the ledger refuses the grant, and another process has taken the request over.
        """
        asked = owned.value
        try:
            limit = await self._ledger.grant(account, asked.grant_id, asked.amount, asked.actor, asked.reason)
        except (AlreadyExists, InvalidRequest, PeriodNotOpen) as error:
            await self._requests.refuse(owned, self._event(actor, "tenant.grant.refuse", asked, str(error)))
            raise
        with suppress(VersionConflict, StorageUnavailable):  # then another process deletes it
            await self._requests.remove(owned)
        return limit

    def _event(self, actor: Actor, action: str, asked: RequestedGrant, reason: str) -> AuditEvent:
        told = TenantGrant(
            period=asked.period, grant_id=asked.grant_id, amount=asked.amount, reason=asked.reason, limit=Limit()
        )
        return replace(actor, reason=reason).event(self._clock.now(), action, asked.tenant_id, after=told)


class FinishGrants:
    """Part of the timer `reconcile_limits`. It books the grants whose process died after it had stored their events.

    Running late, twice or concurrently is harmless. A grant that the ledger refuses by now gets an event that says so.
    """

    def __init__(self, requests: GrantRequests, tenants: TenantDirectory, grant: GrantQuota, clock: Clock) -> None:
        self._requests = requests
        self._tenants = tenants
        self._grant = grant
        self._clock = clock

    async def __call__(self) -> int:
        """Finish all requests that are older than two minutes. Returns their number.

        Raises `StorageUnavailable`, and `SweepFailed` for those that could not be finished, once all others are.
        """
        failures, finished = Failures(), 0
        for name in await self._requests.names():
            with failures.collected("/".join(name)):
                finished += await self._finish(name)
        failures.raise_any()
        return finished

    async def _finish(self, name: GrantName) -> bool:
        """Finish a request. Returns whether this process did it."""
        found = await self._requests.find(name)
        if found is None or abs(self._clock.now() - found.value.requested_at) < _ABANDONED:
            return False
        tenant = await self._tenants.get(found.value.tenant_id)
        if tenant is None:
            raise NotFound(f"No tenant '{found.value.tenant_id}' is registered.")
        account = Account(tenant_id=tenant.value.tenant_id, period=found.value.period, limit=tenant.value.limit)
        try:
            await self._grant.book(account, await self._requests.take_over(found), _GATEWAY)
        except VersionConflict:
            return False  # another process finishes it
        except (AlreadyExists, InvalidRequest, PeriodNotOpen):
            return True  # its event tells the refusal
        return True


def _require_same(requested: RequestedGrant, amount: Amount) -> None:
    """Raise `AlreadyExists` if a grant of this name has another amount."""
    if amount != requested.amount:
        raise AlreadyExists(f"The grant '{requested.grant_id}' was made with another amount in {requested.period}.")
