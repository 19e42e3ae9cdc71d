"""Write a closed period's statements as files. What is written stays: a rerun completes them and changes no byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from shared.application.audit.record_audit import Actor, RecordAudit
from shared.application.ledger.swept_lanes import vaults_of
from shared.application.ports.billing import ManifestFormat, ReportStore, StatementFormat, StatementRenderer
from shared.application.ports.ledger import Ledger
from shared.application.ports.pricing import PriceStore
from shared.application.ports.tenancy import TenantDirectory
from shared.domain.billing.manifest import Manifest, StatementFile, WrittenStatements, manifest_of
from shared.domain.billing.statements import (
    PeriodStatements,
    Statement,
    Tally,
    chain_heads,
    period_statements,
    statement,
)
from shared.domain.errors import AlreadyExists, GatewayError
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import LaneState
from shared.domain.ledger.lanes import combined

T = TypeVar("T")
_WRITER = Actor(name="tallygate", reason="the period is closed")


class BuildStatement:
    """Requires that every lane of the period is closed; a tenant has one bill over all of its lanes."""

    def __init__(
        self,
        ledger: Ledger,
        tenants: TenantDirectory,
        prices: PriceStore,
        reports: ReportStore,
        stored_format: StatementFormat,
        renderers: Sequence[StatementRenderer],
        manifest: ManifestFormat,
        audit: RecordAudit,
    ) -> None:
        """`stored_format` is one of `renderers`. Its file is written first, and all others are rendered from it."""
        self._stored_format = stored_format
        self._ledger = ledger
        self._tenants = tenants
        self._prices = prices
        self._reports = reports
        self._renderers = renderers
        self._manifest = manifest
        self._audit = audit

    async def __call__(self, period: str) -> tuple[StatementFile, ...]:
        """Write the statements in every format and, last, the manifest; returns the files, the manifest's too.

        A file of an earlier or a simultaneous run is kept and returned. Raises `PeriodStillOpen`, and `FileDamaged`
        if the first file of an earlier run is damaged.
        """
        statements = await self._stored(period)
        files = [await self._write(period, each.file_name, each.render(statements)) for each in self._renderers]
        content = self._manifest.render(manifest_of(statements, files))
        if await self._reports.read(f"{period}/{self._manifest.file_name}") is None:
            # The event comes first: a run that dies in between leaves a second one of the same content.
            digest = WrittenStatements(StatementFile.of("", content).sha256)
            await self._audit(_WRITER, "statements.write", period, after=digest)
        return (*files, await self._write(period, self._manifest.file_name, content))

    async def manifest(self, period: str) -> Manifest | None:
        """Return the manifest of a period; `None` if the period is not exported. Raises `FileDamaged`."""
        content = await self._reports.read(f"{period}/{self._manifest.file_name}")
        return None if content is None else _read(self._manifest.read, f"{period}/{self._manifest.file_name}", content)

    async def _stored(self, period: str) -> PeriodStatements:
        """Return the statements of the first file. Reads the books and writes it only if no run has done so.

        Names and tags of tenants may change between two runs. So the run that finishes the work of another must not
        take them from the tenants again.
        """
        name = self._stored_format.file_name
        content = await self._reports.read(f"{period}/{name}")
        if content is None:
            rendered = self._stored_format.render(await self._statements(period))
            content = await self._write_once(f"{period}/{name}", rendered)
        return _read(self._stored_format.read, f"{period}/{name}", content)

    async def _write(self, period: str, name: str, content: bytes) -> StatementFile:
        """Write a file unless an earlier run did."""
        path = f"{period}/{name}"
        existing = await self._reports.read(path)
        return StatementFile.of(name, await self._write_once(path, content) if existing is None else existing)

    async def _write_once(self, path: str, content: bytes) -> bytes:
        """Write a file unless a simultaneous run did. Returns its content."""
        try:
            await self._reports.write_once(path, content)
        except AlreadyExists:
            return await self._reports.read(path) or b""
        return content

    async def _statements(self, period: str) -> PeriodStatements:
        prices = (await self._prices.load()).book
        bills: list[Statement] = []
        closed_at = ""
        async for vault in vaults_of(self._ledger, BillingPeriod.parse(period)):
            tally = Tally(prices)
            bills.append(await self._bill(vault.tenant_id, period, tally))
            closed_at = max(closed_at, tally.closed_at)
        return period_statements(period, closed_at, bills)

    async def _bill(self, tenant_id: str, period: str, tally: Tally) -> Statement:
        """A tenant's bill over all of its lanes, which are added to the tally."""
        balances = await self._ledger.balances(tenant_id, period)
        if not balances or any(balance.state is not LaneState.CLOSED for balance in balances.values()):
            raise PeriodStillOpen(tenant_id)
        for lane, balance in balances.items():
            async for entry in self._ledger.entries(lane, 1, balance.seq):
                tally.add(entry)
        known = await self._tenants.get(tenant_id)
        name, cost_center, tags = (
            (known.value.name, known.value.cost_center, known.value.tags) if known else (tenant_id, "", {})
        )
        return statement(
            tenant_id=tenant_id,
            tenant_name=name,
            cost_center=tally.cost_center or cost_center,
            tags=tags,
            balance=combined([*balances.values()]),
            chain_heads=chain_heads(balances),
            tally=tally,
        )


class FileDamaged(GatewayError):
    """A file of a period cannot be read, because something else wrote it. The message names it."""


def _read(read: Callable[[bytes], T], path: str, content: bytes) -> T:
    try:
        return read(content)
    except ValueError as error:
        raise FileDamaged(f"The file {path} is damaged: {error}") from error


class PeriodStillOpen(GatewayError):
    """A lane of the period is not closed, so there is no final statement yet."""

    def __init__(self, tenant_id: str) -> None:
        super().__init__(f"A lane of the tenant {tenant_id} is not closed.")
