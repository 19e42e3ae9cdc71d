"""Verify all books that can still change, again and again, so that damage is found within hours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Final

from shared.application.alerts.store_alert import StoreAlert
from shared.application.audit.verify_audit_log import VerifyAuditLog
from shared.application.health.verified_books import Books, not_verified, of_audit_log, of_ledger, of_turn
from shared.application.ledger.swept_lanes import vaults_of
from shared.application.ledger.verify_in_turn import Position, VerifyInTurn
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.application.ledger.verify_promises import VerifyPromises
from shared.application.ports.audit import AuditChain
from shared.application.ports.clock import Clock
from shared.application.ports.health import States
from shared.application.ports.ledger import Ledger
from shared.application.sweep import Failures, Sweep
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.errors import InvalidRequest, RowsDamaged
from shared.domain.health.verification import Coverage, Verification
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Balance, Lane

MOST_ENTRIES: Final = 200_000
"""The most entries of books that the timer reads as a whole. Of larger ones each run reads so many, in turn."""
AUDIT_LOG: Final = "audit log"
"""The name of the audit log among the verified books. No tenant can have it."""


class VerifyBooks:
    """The use case of the timer `verify_books`. It verifies books after books, as far as a slice of time goes.

    - It verifies the current month and the one before, each other month without statements, and each with findings.
    - It checks what `tallygate verify --period` checks of a tenant's ledger, and the chain of the audit log. Anchors,
      documents, limits and statements are for `tallygate verify`.
    - No books take longer than `most_seconds`, so that large ones leave time for others.
    """

    def __init__(
        self,
        ledger: Ledger,
        is_exported: Callable[[str], Awaitable[bool]],
        new_verify: Callable[[], VerifyLedger],
        in_turn: VerifyInTurn,
        promises: VerifyPromises,
        audit_chain: AuditChain,
        verify_audit: VerifyAuditLog,
        verifications: States[Verification],
        clock: Clock,
        sweep: Sweep,
        store_alert: StoreAlert,
        most_seconds: float,
        most_entries: int = MOST_ENTRIES,
    ) -> None:
        self._ledger = ledger
        self._is_exported = is_exported
        self._new_verify = new_verify
        self._in_turn = in_turn
        self._promises = promises
        self._audit_chain = audit_chain
        self._verify_audit = verify_audit
        self._verifications = verifications
        self._clock = clock
        self._sweep = sweep
        self._store_alert = store_alert
        self._most_seconds = most_seconds
        self._most_entries = most_entries

    async def __call__(self) -> Mapping[str, int]:
        """Verify the next books. Returns the number of violations, and how many books were verified in part or never.

        Raises `SweepFailed` for the books that could not be read.
        """
        failures, found = Failures(), 0
        periods = await self._periods(failures)
        await self._forget_others({str(each) for each in periods})
        listed: set[str] = set()
        with failures.collected("the books"):
            found = (await self._sweep("verify_books", self._books(periods, listed), self._verify, _key)).done
        failures.raise_any()
        return {"violations": found, **_counted(listed, await self._verifications.all())}

    async def _periods(self, failures: Failures) -> list[BillingPeriod]:
        """Return the periods to verify, ascending. One of which nobody can say if it is exported is among them.

        If periods cannot be listed, those that were verified before are.
        """
        current, is_listed = BillingPeriod.containing(self._clock.now()), False
        periods = {current, current.previous()}
        with failures.collected("the periods"):
            async for period in self._ledger.periods():
                is_exported = False
                with failures.collected(str(period)):
                    is_exported = await self._is_exported(str(period))
                if not is_exported:
                    periods.add(period)
            is_listed = True
        noted = (await self._verifications.all()).values()
        kept = [each.period for each in noted if each.finding_count or not is_listed]
        return sorted(periods.union(_readable(kept)), key=str)

    async def _books(self, periods: Iterable[BillingPeriod], listed: set[str]) -> AsyncIterator[Books]:
        """Yield the audit log and the tenants of some periods, and note their keys."""
        failures, current = Failures(), str(BillingPeriod.containing(self._clock.now()))
        months = {current}
        with failures.collected("the months of the audit log"):
            months.update([month async for month in self._audit_chain.periods(min(map(str, periods)))])
        for period in periods:
            if str(period) in months:
                listed.add((log := Books(period=str(period), name=AUDIT_LOG)).key)
                yield log
        with failures.collected("the lanes"):
            async for vault in vaults_of(self._ledger, *periods):
                listed.add((books := Books(period=vault.period, name=vault.tenant_id)).key)
                yield books
        failures.raise_any()

    async def _verify(self, books: Books) -> int:
        if books.name == AUDIT_LOG:
            return await self._note(await self._audit_log(books))
        balances = await self._ledger.balances(books.name, books.period)
        return await self._note(await self._tenant(books, balances))

    async def _tenant(self, books: Books, balances: Mapping[Lane, Balance]) -> Verification:
        entries = sum(balance.seq for balance in balances.values())
        if entries > self._most_entries:
            before = await self._verifications.get(books.key)
            position = Position(lane=before.next_lane, entry=max(1, before.next_entry)) if before else Position()
            done = await self._in_turn(balances, position, self._most_entries, self._most_seconds / 2)
            return of_turn(books, self._clock.now(), entries, self._most_entries, done)
        verify = self._new_verify()
        try:
            async with asyncio.timeout(self._most_seconds):
                found = [each async for _, findings in verify(books.period, books.name) for each in findings]
                found += await self._promises(books.period, (), books.name)
        except TimeoutError:
            return not_verified(books, self._clock.now(), entries, self._too_long())
        return of_ledger(books, self._clock.now(), entries, len(balances), verify, found)

    async def _audit_log(self, books: Books) -> Verification:
        try:
            head = await self._audit_chain.head(books.period)
        except RowsDamaged:  # which the verification finds, too
            head = None
        events = head.seq if head else 0
        if events > self._most_entries:
            reason = f"more than {self._most_entries} entries: run `tallygate verify`"
            return not_verified(books, self._clock.now(), events, reason)
        try:
            async with asyncio.timeout(self._most_seconds):
                verified = await self._verify_audit(books.period)
        except TimeoutError:
            return not_verified(books, self._clock.now(), events, self._too_long())
        return of_audit_log(books, self._clock.now(), events, verified)

    def _too_long(self) -> str:
        return f"reading them took more than {self._most_seconds:g} s: run `tallygate verify`"

    async def _note(self, verification: Verification) -> int:
        books = Books(period=verification.period, name=verification.name)
        await self._verifications.note(books.key, verification)
        if verification.findings:
            await self._store_alert(_alert(verification))
        return verification.finding_count

    async def _forget_others(self, periods: set[str]) -> None:
        """Delete the results for other periods, and those of earlier versions, which had other keys."""
        for key, each in (await self._verifications.all()).items():
            if each.period not in periods or key != Books(period=each.period, name=each.name).key:
                await self._verifications.forget(key)


def _readable(periods: Iterable[str]) -> Iterable[BillingPeriod]:
    """Yield the periods that are some. An operator may have edited the row of a verification."""
    for text in periods:
        try:
            yield BillingPeriod.parse(text)
        except InvalidRequest:
            continue


def _counted(listed: set[str], verifications: Mapping[str, Verification]) -> Mapping[str, int]:
    verified = [each for key, each in verifications.items() if key in listed]
    return {
        "books": len(listed),
        "books_verified_in_part": sum(each.coverage is not Coverage.WHOLE for each in verified),
        "books_never_verified": len(listed) - len(verified),
    }


def _alert(verification: Verification) -> Alert:
    """Return the alert of failed books: one a day for each."""
    return Alert(
        kind=AlertKind.VERIFICATION_FAILED,
        event_id=f"{verification.name}:{verification.period}:{verification.at:%Y-%m-%d}",
        at=verification.at,
        subject="audit" if verification.name == AUDIT_LOG else f"tenants/{verification.name}",
        data={
            "books": verification.name,
            "period": verification.period,
            "finding_count": str(verification.finding_count),
            "first": verification.findings[0],
        },
    )


def _key(books: Books) -> str:
    return books.key
