"""A month that is over: served, closed, exported, audited and anchored by a real gateway over memory."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from shared.adapters.clock import StorageClock
from shared.adapters.on_disk.evidence_package import PackageWriter
from shared.application.ports.evidence import PackageFacts
from shared.composition.gateway import Gateway, build
from shared.domain.audit.entry_proof import proof_document
from shared.domain.identifiers import rid_at, timestamp
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account, Lane
from shared.domain.ledger.entries import EntryKind, Reservation
from shared.domain.tenancy.keys import new_gateway_key
from shared.domain.tenancy.tenant import Tenant
from shared.settings import read_settings
from tests.tools.events import told
from tests.tools.ledgers import PRICES, VOID, attempt, charge, reservation
from tests.tools.stack import ADMIN_KEY, CHAIN_KEY

PERIOD: Final = "2026-10"
NEXT: Final = "2026-11"
START: Final = datetime(2026, 10, 5, 12, tzinfo=UTC)
SETTINGS: Final = {"AUDIT_CHAIN_KEY": CHAIN_KEY, "ADMIN_API_KEY": ADMIN_KEY, "TALLYGATE_STORAGE": "memory"}


class MonthClock(StorageClock):
    """A clock that a test moves."""

    moment = START

    def now(self) -> datetime:
        return self.moment

    def later(self, **by: float) -> None:
        self.moment += timedelta(**by)


@dataclass(frozen=True, slots=True)
class FinishedMonth:
    """The files of the month, as an auditor gets them."""

    books: Path
    """The archive of the month."""
    early: Path
    """An archive that was written in the middle of the month."""
    checkpoints: Path
    public_key: Path
    signing_key: Path
    package: Path
    """The evidence package."""
    proofs: Path
    """A folder with the proof of each request of a tenant: `{tenant}-{number}.json`."""
    of_acme: Path
    """The evidence package of one tenant."""


@contextmanager
def environment(**settings: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**SETTINGS, **settings}.items():
            patch.setenv(name, value)
        yield


def write_key(folder: Path, name: str = "key") -> tuple[Path, Path]:
    """Write a new signing key. Returns the files of the private and of the public key."""
    key = generate_private_key(SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def write_month(folder: Path, key: tuple[Path, Path] | None = None) -> FinishedMonth:
    """Serve a month and finish it. `key` is by default a new one. Returns the files."""
    signing, public = key or write_key(folder)
    month = FinishedMonth(
        books=folder / "2026-10.gz",
        early=folder / "early.gz",
        checkpoints=folder / "anchors",
        public_key=public,
        signing_key=signing,
        package=folder / "evidence.zip",
        of_acme=folder / "acme.zip",
        proofs=folder / "proofs",
    )
    with environment(AUDIT_SIGNING_KEY_FILE=str(signing), AUDIT_ANCHOR_ORIGIN="tallygate/books"):
        asyncio.run(_write(month))
    return month


def copied(month: FinishedMonth, folder: Path) -> FinishedMonth:
    """Copy the files of a month, to be tampered with."""
    shutil.copytree(month.checkpoints, folder / "anchors")
    for path in (month.books, month.package, month.of_acme):
        shutil.copy(path, folder / path.name)
    return replace(
        month,
        books=folder / month.books.name,
        checkpoints=folder / "anchors",
        package=folder / month.package.name,
        of_acme=folder / month.of_acme.name,
    )


async def _write(month: FinishedMonth) -> None:
    clock = MonthClock()
    gateway = await build(read_settings(), clock)
    try:
        await _Month(gateway, clock).write(month)
    finally:
        await gateway.aclose()


async def serve(gateway: Gateway, clock: MonthClock) -> None:
    """Serve some requests of a tenant in a month that is still open."""
    await _Month(gateway, clock).begin()


async def export_evidence(gateway: Gateway, path: Path, tenant: str | None) -> None:
    facts = PackageFacts(origin=gateway.anchors.origin, tenant=tenant, periods=[PERIOD])
    with PackageWriter(path, facts) as package:
        await gateway.evidence(facts, package, lambda _done, _total: None)


async def copy_anchors(gateway: Gateway, folder: Path) -> None:
    """Copy the container of anchors into a folder."""
    store = gateway.anchors.store
    for kind in ("heads", "leaf", "checkpoint"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        async for name in store.names(kind):
            (folder / name).write_bytes(await store.read(name) or b"")


class _Month:
    def __init__(self, gateway: Gateway, clock: MonthClock) -> None:
        self._gateway = gateway
        self._clock = clock

    async def begin(self) -> None:
        """Serve some requests in a new month."""
        await self._configure()
        await self._gateway.ledger.open_period()
        await self._serve("acme", 2)

    async def write(self, month: FinishedMonth) -> None:
        gateway, clock = self._gateway, self._clock
        await self._configure()
        await gateway.ledger.open_period()
        await self.anchor()
        for _ in range(2):
            await self._serve("acme", 3)
            await self._serve("bolt", 2)
            await self._serve("hot", 2)
            await self.anchor()
        await gateway.ledger.roll_up_usage()
        await self._exceptions()
        await self.anchor()
        await gateway.ledger.archive.export(PERIOD, month.early)
        await self._serve("acme", 2, cost_center="CC-2")
        await self._serve("bolt", 1, user="ben")
        await self.anchor()
        await gateway.ledger.roll_up_usage()
        clock.moment = datetime(2026, 11, 3, 3, tzinfo=UTC)
        await gateway.ledger.expire_reservations()
        await gateway.billing.export_chargeback()
        await gateway.ledger.roll_up_usage()
        await gateway.ledger.open_period()
        await self._serve("acme", 1, NEXT)
        await self.anchor(2)
        await gateway.ledger.archive.export(PERIOD, month.books)
        await export_evidence(gateway, month.package, None)
        await export_evidence(gateway, month.of_acme, "acme")
        await copy_anchors(gateway, month.checkpoints)
        await self._prove_all(month.proofs)

    async def _prove_all(self, folder: Path) -> None:
        folder.mkdir()
        for lane in [Lane("acme", PERIOD), Lane("bolt", PERIOD)]:
            async for entry in self._gateway.ledger.books.entries(lane, 1, 100):
                if entry.kind in {EntryKind.CHARGE, EntryKind.VOID, EntryKind.EXPIRE}:
                    proof = await self._gateway.prove_entry(lane.tenant_id, PERIOD, entry.rid)
                    assert proof.entry["seq"] == entry.seq
                    path = folder / f"{lane.tenant_id}-{entry.seq}.json"
                    path.write_text(json.dumps(proof_document(proof)))

    async def anchor(self, times: int = 1) -> None:
        gateway = self._gateway
        for _ in range(times):
            await gateway.ledger.books.drain()
            await gateway.background.drain()
            await gateway.audit.chain_events()
            assert gateway.anchors.anchor_heads is not None
            await gateway.anchors.anchor_heads()
            self._clock.later(minutes=5)

    async def _configure(self) -> None:
        gateway = self._gateway
        for price in PRICES:
            await gateway.pricing.prices._store.insert(price.normalised(), told())
        tenants: dict[str, dict[str, Any]] = {
            "acme": {"monthly_quota_tokens": 2000, "monthly_budget_usd": "5"},
            "bolt": {},
            "hot": {"monthly_quota_tokens": 4000, "lanes": 2},
        }
        for name, fields in tenants.items():
            tenant = _tenant(name, **fields)
            await gateway.tenancy.tenants._tenants.insert(tenant, told(after=tenant))
            key, _ = new_gateway_key(name, self._clock.now(), None)
            await gateway.tenancy.keys._keys.insert(key, told(after=key))

    async def _serve(self, name: str, times: int, period: str = PERIOD, **facts: Any) -> None:
        books, account = self._gateway.ledger.books, await self._account(name, period)
        for number in range(times):
            held = replace(self._hold(account), attempt=attempt(**facts))
            hold = await books.reserve(account, held)
            await books.settle(hold.reservation, charge(5 + number, 7))
            self._clock.later(seconds=2)

    async def _exceptions(self) -> None:
        """A voided request, an expired one, one that is settled late, a grant, and changes of the limit."""
        books, account = self._gateway.ledger.books, await self._account("acme", PERIOD)
        voided, expired, late = self._hold(account), self._hold(account), self._hold(account)
        await books.reserve(account, voided)
        await books.settle(voided, VOID)
        for held in (expired, late):
            await books.reserve(account, held)
            await books.expire(held, charge(10, 0, EntryKind.EXPIRE))
        await books.settle(late, charge())
        await books.change_limit(replace(account, limit=Limit(1500, account.limit.pusd)), "admin", "less")
        await books.change_limit(account, "admin", "as before")
        await books.grant(account, "grant-1", Amount(100), "admin", "a gift")

    async def _account(self, name: str, period: str) -> Account:
        found = await self._gateway.tenancy.tenants.get(name)
        assert found is not None
        tenant = found.value
        return Account(tenant_id=name, period=period, limit=tenant.limit, lanes=tenant.lanes)

    def _hold(self, account: Account) -> Reservation:
        made = reservation(account.tenant_id, period=account.period)
        ends = timestamp(self._clock.now() + timedelta(hours=1))
        lane = Lane(account.tenant_id, account.period)
        rid = rid_at(self._clock.now())
        return replace(made, rid=rid, lane=lane, created=timestamp(self._clock.now()), deadline=ends)


def _tenant(name: str, **fields: Any) -> Tenant:
    created = START - timedelta(days=40)
    return Tenant(tenant_id=name, name=f"{name.title()} GmbH", created_at=created, cost_center="CC-1", **fields)
