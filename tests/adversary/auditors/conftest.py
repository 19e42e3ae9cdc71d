"""Books of two months in an Azurite, written by the real ledger, and direct access to their rows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables import TableServiceClient, UpdateMode

from local.azurite_server import ACCOUNT
from shared.adapters.clock import StorageClock
from shared.composition.gateway import Gateway, build
from shared.domain.identifiers import BillingPeriod, timestamp
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account, Lane
from shared.domain.ledger.entries import EntryKind, Reservation
from shared.domain.tenancy.keys import new_gateway_key
from shared.domain.tenancy.tenant import Tenant
from shared.settings import read_settings
from tests.tools.events import told
from tests.tools.ledgers import PRICES, charge, reservation
from tests.tools.stack import ADMIN_KEY, CHAIN_KEY, AzuriteAccount, running_azurite

MONTH: Final = BillingPeriod.containing(datetime.now(UTC))
OPEN: Final = str(MONTH)
CLOSED: Final = str(MONTH.previous())
Entity: TypeAlias = dict[str, Any]


class Tables:
    """The rows of an account, as whoever has its key can change them."""

    def __init__(self, account: AzuriteAccount) -> None:
        self._service = TableServiceClient(
            account.table_endpoint, credential=AzureNamedKeyCredential(ACCOUNT, account.key)
        )

    def row(self, table: str, partition: str, key: str) -> Entity:
        """Return a row with the types of its properties."""
        return dict(self._service.get_table_client(table).get_entity(partition, key))

    def rows(self, table: str, partition: str) -> dict[str, Entity]:
        """Return all rows of a partition, by key."""
        client = self._service.get_table_client(table)
        found = client.query_entities("PartitionKey eq @name", parameters={"name": partition})
        return {entity["RowKey"]: dict(entity) for entity in found}

    def write(self, table: str, entity: Entity) -> None:
        """Insert or replace a row."""
        self._service.create_table_if_not_exists(table)
        self._service.get_table_client(table).upsert_entity(entity, mode=UpdateMode.REPLACE)

    def change(self, table: str, partition: str, key: str, **properties: object) -> None:
        """Set properties of a row, and leave out those that are `None`."""
        changed = {**self.row(table, partition, key), **properties}
        self.write(table, {name: value for name, value in changed.items() if value is not None})

    def delete(self, table: str, partition: str, *keys: str) -> None:
        """Delete rows, or the whole partition."""
        for key in keys or self.rows(table, partition):
            self._service.get_table_client(table).delete_entity(partition, key)

    def every_row(self) -> dict[tuple[str, str, str], Entity]:
        """Return all rows of the account."""
        found = {}
        for table in [each.name for each in self._service.list_tables()]:
            for entity in self._service.get_table_client(table).list_entities():
                found[table, entity["PartitionKey"], entity["RowKey"]] = dict(entity)
        return found

    def restore(self, before: dict[tuple[str, str, str], Entity]) -> None:
        """Bring all rows back."""
        after = self.every_row()
        for table, partition, key in after.keys() - before.keys():
            self.delete(table, partition, key)
        for (table, partition, key), entity in before.items():
            if repr(after.get((table, partition, key))) != repr(entity):  # 200.0 equals 200, and True equals 1
                self.write(table, entity)


@dataclass(frozen=True, slots=True)
class KeptBooks:
    """An account with books of two months that nobody has tampered with, and the settings to verify them."""

    account: AzuriteAccount
    tables: Tables
    settings: dict[str, str]


@pytest.fixture(scope="session")
def kept_books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeptBooks]:
    """Write the books once."""
    with running_azurite(tmp_path_factory.mktemp("kept")) as account:
        settings = {"AUDIT_CHAIN_KEY": CHAIN_KEY, "ADMIN_API_KEY": ADMIN_KEY, "TALLYGATE_STORAGE": "tables"}
        settings |= account.settings
        with pytest.MonkeyPatch.context() as environment:
            for name, value in settings.items():
                environment.setenv(name, value)
            asyncio.run(_write_books())
        yield KeptBooks(account, Tables(account), settings)


@pytest.fixture
def books(kept_books: KeptBooks, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeptBooks]:
    """The books, to be tampered with. Afterwards they are as before."""
    for name, value in kept_books.settings.items():
        monkeypatch.setenv(name, value)
    before = kept_books.tables.every_row()
    yield kept_books
    kept_books.tables.restore(before)


class _Clock(StorageClock):
    """A clock that begins at a moment of the test's choice."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment


async def _write_books() -> None:
    clock = _Clock()
    clock.moment = MONTH.previous().start + timedelta(days=5)
    gateway = await build(read_settings(), clock)
    try:
        await _write(gateway, clock)
    finally:
        await gateway.aclose()


def _tenant(name: str, **fields: Any) -> Tenant:
    created = MONTH.previous().start - timedelta(days=40)
    return Tenant(tenant_id=name, name=name.title(), created_at=created, cost_center="CC-1", **fields)


async def _write(gateway: Gateway, clock: _Clock) -> None:
    for price in PRICES:
        await gateway.pricing.prices._store.insert(price.normalised(), told())
    tenants = {
        "acme": _tenant("acme", monthly_quota_tokens=2000, monthly_budget_usd="5"),
        "hot": _tenant("hot", monthly_quota_tokens=4000, lanes=2),
        "idle": _tenant("idle"),
    }
    for tenant in tenants.values():
        await gateway.tenancy.tenants._tenants.insert(tenant, told())
        await gateway.tenancy.keys._keys.insert(new_gateway_key(tenant.tenant_id, clock.now(), None)[0], told())
    late = await _previous_month(gateway, tenants)
    clock.moment = MONTH.start + timedelta(days=3)
    await gateway.billing.export_chargeback()
    await _current_month(gateway, tenants, late)


def _account(tenant: Tenant, period: str) -> Account:
    return Account(tenant_id=tenant.tenant_id, period=period, limit=tenant.limit, lanes=tenant.lanes)


async def _serve(gateway: Gateway, account: Account, times: int = 1) -> None:
    for _ in range(times):
        held = await gateway.ledger.books.reserve(account, _hold(account))
        await gateway.ledger.books.settle(held.reservation, charge())


def _hold(account: Account) -> Reservation:
    """A reservation that does not end while the tests run."""
    made, ends = reservation(account.tenant_id, period=account.period), timestamp(datetime.now(UTC) + timedelta(days=1))
    return replace(made, lane=Lane(account.tenant_id, account.period), deadline=ends)


async def _previous_month(gateway: Gateway, tenants: dict[str, Tenant]) -> Reservation:
    """Serve a month. Returns a reservation that expired in it, and is settled only after its end."""
    ledger = gateway.ledger.books
    await gateway.ledger.open_period()
    account = _account(tenants["acme"], CLOSED)
    await _serve(gateway, account, 3)
    expired = _hold(account)
    await ledger.reserve(account, expired)
    await ledger.expire(expired, charge(10, 0, EntryKind.EXPIRE))
    await gateway.ledger.roll_up_usage()
    return expired


async def _current_month(gateway: Gateway, tenants: dict[str, Tenant], late: Reservation) -> None:
    ledger, account = gateway.ledger.books, _account(tenants["acme"], OPEN)
    await gateway.ledger.open_period()
    await _serve(gateway, account, 4)
    await ledger.change_limit(replace(account, limit=Limit(1500, account.limit.pusd)), "admin", "less")
    await ledger.change_limit(account, "admin", "as before")
    await ledger.grant(account, "grant-1", Amount(100), "admin", "a gift")
    expired, settled_late = _hold(account), _hold(account)
    for held in (expired, settled_late):
        await ledger.reserve(account, held)
        await ledger.expire(held, charge(10, 0, EntryKind.EXPIRE))
    await ledger.settle(settled_late, charge())
    await ledger.settle(late, charge())
    hot = _account(tenants["hot"], OPEN)
    await _serve(gateway, hot, 2)
    await gateway.ledger.roll_up_usage()
    await _serve(gateway, account, 2)
    await ledger.reserve(account, _hold(account))
    await ledger.drain()
