"""Wire the ledger, its timer jobs, and its verification."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from shared.adapters.clock import StorageClock
from shared.adapters.on_disk.table_store import DiskSet
from shared.adapters.tables.archive import PeriodArchive
from shared.adapters.tables.books import TableBooks
from shared.application.ledger.expire_reservations import ExpireReservations
from shared.application.ledger.level_lanes import LevelLanes
from shared.application.ledger.open_period import OpenPeriod
from shared.application.ledger.roll_up_usage import RollUpUsage
from shared.application.ledger.verify_in_turn import VerifyInTurn
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.application.ledger.verify_limits import VerifyLimits
from shared.application.ledger.verify_promises import VerifyPromises
from shared.application.ledger.verify_tenants import VerifyTenants
from shared.application.ports.ledger import Ledger
from shared.application.ports.pricing import PriceRecords
from shared.application.sweep import Sweep
from shared.composition.adapters import Adapters, chain_keys, open_tokens
from shared.composition.pricing import Pricing
from shared.composition.secrets import SecretNames, open_secrets
from shared.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerJobs:
    """The books, and the use cases that keep, verify and archive them."""

    books: Ledger
    open_period: OpenPeriod
    roll_up_usage: RollUpUsage
    level_lanes: LevelLanes
    expire_reservations: ExpireReservations
    verify: VerifyLedger
    verify_tenants: VerifyTenants
    verify_limits: VerifyLimits
    verify_promises: VerifyPromises
    price_records: PriceRecords
    archive: PeriodArchive


def wire_ledger(adapters: Adapters, pricing: Pricing, sweep: Sweep) -> LedgerJobs:
    """Make the use cases of the ledger."""
    ledger, clock, tenants = adapters.ledger, adapters.clock, adapters.tenants
    stored = TableBooks(adapters.store)
    return LedgerJobs(
        books=ledger,
        open_period=OpenPeriod(tenants, ledger, clock, sweep),
        roll_up_usage=RollUpUsage(ledger, adapters.rollups, clock, sweep),
        level_lanes=LevelLanes(ledger, clock, sweep),
        expire_reservations=ExpireReservations(tenants, ledger, pricing.book, clock, sweep),
        verify=new_verification(adapters),
        verify_tenants=VerifyTenants(tenants, stored, clock),
        verify_limits=VerifyLimits(adapters.audit_waiting, adapters.audit_chain, adapters.audit_periods),
        price_records=adapters.price_records,
        verify_promises=VerifyPromises(stored, clock),
        archive=PeriodArchive(adapters.store, adapters.price_records),
    )


def new_verification(adapters: Adapters) -> VerifyLedger:
    """Make the use case that verifies lanes. Each keeps what it has read, so one is made for each verification."""
    ends = adapters.settings.chain_key_ends
    return VerifyLedger(TableBooks(adapters.store), adapters.price_records, adapters.chain, DiskSet, ends)


def new_verification_in_turn(adapters: Adapters) -> VerifyInTurn:
    """Make the use case that verifies large books, some entries at a time."""
    ends = adapters.settings.chain_key_ends
    return VerifyInTurn(TableBooks(adapters.store), adapters.price_records, adapters.chain, ends, adapters.clock)


async def readable_chain_keys(settings: Settings) -> Mapping[str, bytes]:
    """Return all versions of the chain key that can be read, also from a vault. Sends no request to storage."""
    async with AsyncExitStack() as opened:
        names = SecretNames.of(settings)
        secrets = open_secrets(settings, names, open_tokens(settings, opened), StorageClock(), opened)
        return await chain_keys(settings, names, secrets).readable()
