"""Verify the books of the current period again and again, so that damage is found within hours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from shared.application.alerts.store_alert import StoreAlert
from shared.application.audit.verify_audit_log import VerifyAuditLog
from shared.application.ledger.findings import Finding
from shared.application.ledger.swept_lanes import vaults_of
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.application.ledger.verify_promises import VerifyPromises
from shared.application.ports.audit import AuditChain
from shared.application.ports.clock import Clock
from shared.application.ports.health import States
from shared.application.ports.ledger import Ledger
from shared.application.sweep import Sweep
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.errors import RowsDamaged
from shared.domain.health.verification import Verification
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Lane

MOST_ENTRIES: Final = 200_000
"""Books with more entries are not verified by the timer, because they take longer than its slice of time."""
AUDIT_LOG: Final = "audit log"
"""The name of the audit log among the verified books. No tenant can have it."""
_SHOWN: Final = 10
_MAX_MESSAGE: Final = 1000
"""Longer messages are cut: they name what stands in damaged rows, and a state must fit into a row."""


class VerifyBooks:
    """The use case of the timer `verify_books`. It verifies tenant after tenant, as far as a slice of time goes.

    It checks what `tallygate verify --period` checks of a tenant's ledger, and the chain of the audit log. Anchors,
    documents and statements are for `tallygate verify`.
    """

    def __init__(
        self,
        ledger: Ledger,
        new_verify: Callable[[], VerifyLedger],
        promises: VerifyPromises,
        audit_chain: AuditChain,
        verify_audit: VerifyAuditLog,
        verifications: States[Verification],
        clock: Clock,
        sweep: Sweep,
        store_alert: StoreAlert,
        most_entries: int = MOST_ENTRIES,
    ) -> None:
        self._ledger = ledger
        self._new_verify = new_verify
        self._promises = promises
        self._audit_chain = audit_chain
        self._verify_audit = verify_audit
        self._verifications = verifications
        self._clock = clock
        self._sweep = sweep
        self._store_alert = store_alert
        self._most_entries = most_entries

    async def __call__(self) -> int:
        """Verify the audit log and the next tenants. Returns the number of violations.

        Raises `SweepFailed` for the books that could not be read.
        """
        period = BillingPeriod.containing(self._clock.now())
        found = await self._audit_log(str(period))
        swept = await self._sweep("verify_books", vaults_of(self._ledger, period), self.tenant, _tenant_of)
        await self._forget_older_than(period.previous())
        return found + swept.done

    async def tenant(self, vault: Lane) -> int:
        """Verify the books of one tenant. Returns the number of violations."""
        balances = await self._ledger.balances(vault.tenant_id, vault.period)
        entries = sum(balance.seq for balance in balances.values())
        if entries > self._most_entries:
            return await self._note(vault.tenant_id, vault.period, entries, [], skipped=self._too_many())
        found: list[Finding] = []
        async for _, findings in self._new_verify()(vault.period, vault.tenant_id):
            found += findings
        found += await self._promises(vault.period, (), vault.tenant_id)
        return await self._note(
            vault.tenant_id, vault.period, entries, [f"{each.invariant}: {each.message}" for each in found]
        )

    async def _audit_log(self, period: str) -> int:
        try:
            head = await self._audit_chain.head(period)
        except RowsDamaged:  # which the verification finds, too
            head = None
        events = head.seq if head else 0
        if events > self._most_entries:
            return await self._note(AUDIT_LOG, period, events, [], skipped=self._too_many())
        verified = await self._verify_audit(period)
        return await self._note(AUDIT_LOG, period, events, [f"I18: {each.message}" for each in verified.findings])

    async def _note(self, name: str, period: str, entries: int, messages: Sequence[str], skipped: str = "") -> int:
        verification = Verification(
            name=name,
            period=period,
            at=self._clock.now(),
            entries=entries,
            findings=tuple(message[:_MAX_MESSAGE] for message in messages[:_SHOWN]),
            finding_count=len(messages),
            skipped=skipped,
        )
        await self._verifications.note(name, verification)
        if messages:
            await self._store_alert(_alert(verification))
        return len(messages)

    def _too_many(self) -> str:
        return f"more than {self._most_entries} entries: run `tallygate verify`"

    async def _forget_older_than(self, period: BillingPeriod) -> None:
        for name, each in (await self._verifications.all()).items():
            if each.period < str(period):
                await self._verifications.forget(name)


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


def _tenant_of(vault: Lane) -> str:
    return vault.tenant_id
