"""Verify the invariants I16 and I17: the tenants' documents agree with the books of a period."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence, Set

from shared.application.ledger.findings import Finding, NotChecked, finding_at
from shared.application.ports.books import Books, Place
from shared.application.ports.clock import Clock
from shared.application.ports.tenancy import TenantDirectory
from shared.application.tenancy.every_tenant import every_tenant
from shared.domain.errors import TenantsDamaged
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Balance, Lane, LaneState
from shared.domain.tenancy.tenant import Tenant, TenantState
from shared.domain.values import value

_READINGS = 4
_PAUSE_SECONDS = 0.5
"""A change of a limit is two writes, some milliseconds apart. A difference in all readings does not come from one."""


@value
class TenantsVerified:
    """The violations, and what could not be checked."""

    findings: list[Finding]
    not_checked: list[NotChecked]


class VerifyTenants:
    """Compares the tenants' documents, keys and responses with the registry and the balances of a period."""

    def __init__(self, tenants: TenantDirectory, books: Books, clock: Clock) -> None:
        self._tenants = tenants
        self._books = books
        self._clock = clock

    async def __call__(self, period: str, only: str | None = None) -> TenantsVerified:
        """Compare all tenants, or one. Raises `StorageUnavailable`.

        Documents are read last: a tenant that comes meanwhile has its document before it has anything else.
        """
        keys = await self._books.tenants_with("credentials", period)
        answered = await self._books.tenants_with("responses", period)
        lanes, _ = await self._books.lanes(period, only)
        documents: dict[str, Tenant] = {}
        damaged: Sequence[str] = ()
        try:
            async for tenant in self._documents(only):
                documents[tenant.tenant_id] = tenant
        except TenantsDamaged as error:
            damaged = error.names
        if not documents and not damaged and await self._is_without_documents():
            return TenantsVerified([], _unchecked("no tenant has a document, as after a restore into an empty account"))
        known = documents.keys() | {*damaged}
        places = (Place(table="tenants", partition=name) for name in damaged)
        found = [finding_at(place, "I16", "the tenant's document cannot be read") for place in places]
        found += [each for tenant in documents.values() for each in await self._compare(tenant, period)]
        found += [
            self._at(lane, "I16", "the tenant has books, and no document")
            for lane in lanes
            if lane == lane.vault and lane.tenant_id not in known
        ]
        found += [
            finding_at(Place(table="credentials", partition=name), "I16", "the tenant has keys, and no document")
            for name in sorted(keys - known)
            if only in (None, name)
        ]
        found += await self._without_books(period, answered - {lane.tenant_id for lane in lanes}, only)
        return TenantsVerified(found, [*self._not_checked(period, documents.values(), lanes)])

    async def _is_without_documents(self) -> bool:
        page, _ = await self._tenants.list_readable(1, None)
        return not page.tenants and not page.damaged

    def _not_checked(self, period: str, tenants: Iterable[Tenant], lanes: Iterable[Lane]) -> Iterator[NotChecked]:
        begun, opened = BillingPeriod.parse(period), {lane.tenant_id for lane in lanes}
        if self._clock.now() >= begun.end:
            reason = "the period is over: documents may have changed since"
            yield NotChecked(invariant="I17", reason=reason, is_all=True)
        new = [tenant.tenant_id for tenant in tenants if begun.start <= tenant.created_at < begun.end]
        if unused := [tenant_id for tenant_id in new if tenant_id not in opened]:
            reason = f"{len(unused)} tenants have no books, and were registered in the period: perhaps without requests"
            yield NotChecked(invariant="I16", reason=reason)

    async def _documents(self, only: str | None) -> AsyncIterator[Tenant]:
        """Yield all tenants, or one. Raises `TenantsDamaged` at the end."""
        if only is None:
            async for tenant in every_tenant(self._tenants):
                yield tenant
            return
        found = await self._tenants.get(only)
        if found is not None:
            yield found.value

    async def _compare(self, tenant: Tenant, period: str) -> list[Finding]:
        """Compare a document with the vault, again while a change may be in progress."""
        vault, known = Lane(tenant.tenant_id, period), tenant
        for reading in range(_READINGS):
            if reading:
                await self._clock.sleep(_PAUSE_SECONDS)
                versioned = await self._tenants.get(tenant.tenant_id)
                known = versioned.value if versioned else tenant
            stored = await self._books.balance(vault)
            found = [*self._contradictions(known, vault, stored.meaning if stored else None)]
            if not found:
                break
        return found

    def _contradictions(self, tenant: Tenant, vault: Lane, balance: Balance | None) -> Iterator[Finding]:
        now = self._clock.now()
        period = BillingPeriod.parse(vault.period)
        if balance is None:
            # The timer opens a month for every tenant. One that was registered later may have made no request.
            if tenant.created_at < period.start <= now and tenant.state is not TenantState.CLOSED:
                message = f"the tenant is registered since {tenant.created_at:%Y-%m-%d}, and has no books in the period"
                yield self._at(vault, "I16", message)
        elif balance.state is LaneState.OPEN and now < period.end:
            expected = tenant.limit.plus(balance.granted)
            for unit in ("tokens", "pusd"):
                stated, due = getattr(balance.limit, unit), getattr(expected, unit)
                if stated != due:
                    message = f"the limit is {stated}, the tenant's document with all grants gives {due}"
                    yield finding_at(self._books.place(vault, "B", f"limit_{unit}"), "I17", message)

    async def _without_books(self, period: str, answered: Set[str], only: str | None) -> list[Finding]:
        """Return those of the tenants with stored responses that have no books in the month before, either.

        A response is owned in the month of its answer; its request may have been reserved in the month before.
        """
        earlier = {lane.tenant_id for lane in (await self._books.lanes(_previous(period)))[0]} if answered else set()
        return [
            self._at(Lane(name, period), "I16", "the tenant has stored responses, and no books in the period")
            for name in sorted(answered - earlier)
            if only in (None, name)
        ]

    def _at(self, lane: Lane, invariant: str, message: str) -> Finding:
        """Return a violation at a lane's place in the registry."""
        return finding_at(self._books.registry_place(lane), invariant, message, lane.tenant_id)


def _unchecked(reason: str) -> list[NotChecked]:
    return [NotChecked(invariant="I16", reason=reason), NotChecked(invariant="I17", reason=reason, is_all=True)]


def _previous(period: str) -> str:
    return str(BillingPeriod.parse(period).previous())
