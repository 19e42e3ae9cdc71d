"""Statements as JSON. Stored files: fields are added at the end, and never change."""

from __future__ import annotations

from typing import Final

import msgspec

from shared.adapters.statements.documents import read_document, write_document
from shared.adapters.statements.json_manifest import MANIFEST
from shared.domain.billing.statements import PeriodStatements, Statement, StatementLine, utilization_percent
from shared.domain.pricing.money import parse_cents, parse_usd, usd, usd_of_cents


class _Line(msgspec.Struct):
    deployment: str
    model: str
    meter: str
    quantity: int
    cost_usd: str
    exact_cost_usd: str
    cost_center: str | msgspec.UnsetType = msgspec.UNSET
    """Unset where it is the cost center of the tenant's statement."""


class _Statement(msgspec.Struct):
    tenant_id: str
    tenant_name: str
    cost_center: str
    tags: dict[str, str]
    requests: int
    failed_requests: int
    tokens_used: int
    quota_tokens: int | None
    utilization_percent: float | None
    budget_usd: str | None
    estimated_tokens: int
    content_filter_flags: int
    total_cost_usd: str
    exact_cost_usd: str
    chain_heads: dict[str, str]
    entries: int
    lines: list[_Line]


class _CostCenter(msgspec.Struct):
    cost_center: str
    cost_usd: str


class _Document(msgspec.Struct):
    report_generated: str
    period: str
    status: str
    currency: str
    tenants: list[_Statement]
    cost_centers: list[_CostCenter]
    total_cost_usd: str
    manifest: str


class JsonStatements:
    """Implements `StatementFormat`."""

    file_name: Final = "statements.json"

    def render(self, statements: PeriodStatements) -> bytes:
        document = _Document(
            report_generated=statements.closed_at,
            period=statements.period,
            status="final",
            currency="USD",
            tenants=[_written_statement(bill) for bill in statements.statements],
            cost_centers=[
                _CostCenter(cost_center=name, cost_usd=usd_of_cents(amount))
                for name, amount in statements.cost_centers.items()
            ],
            total_cost_usd=usd_of_cents(statements.cost_cents),
            manifest=f"{statements.period}/{MANIFEST}",
        )
        return write_document(document)

    def read(self, content: bytes) -> PeriodStatements:
        document = read_document(content, _Document)
        return PeriodStatements(
            period=document.period,
            closed_at=document.report_generated,
            statements=tuple(_read_statement(bill) for bill in document.tenants),
            cost_centers={each.cost_center: parse_cents(each.cost_usd) for each in document.cost_centers},
            cost_cents=parse_cents(document.total_cost_usd),
        )


def _written_statement(bill: Statement) -> _Statement:
    return _Statement(
        tenant_id=bill.tenant_id,
        tenant_name=bill.tenant_name,
        cost_center=bill.cost_center,
        tags=dict(bill.tags),
        requests=bill.requests,
        failed_requests=bill.failed_requests,
        tokens_used=bill.tokens_used,
        quota_tokens=bill.quota_tokens,
        utilization_percent=utilization_percent(bill.tokens_used, bill.quota_tokens),
        budget_usd=None if bill.budget_pusd is None else usd(bill.budget_pusd),
        estimated_tokens=bill.estimated_tokens,
        content_filter_flags=bill.content_filter_flags,
        total_cost_usd=usd_of_cents(bill.cost_cents),
        exact_cost_usd=usd(bill.cost_pusd),
        chain_heads=dict(bill.chain_heads),
        entries=bill.entries,
        lines=[_written_line(line, bill.cost_center) for line in bill.lines],
    )


def _read_statement(bill: _Statement) -> Statement:
    return Statement(
        tenant_id=bill.tenant_id,
        tenant_name=bill.tenant_name,
        cost_center=bill.cost_center,
        tags=bill.tags,
        requests=bill.requests,
        failed_requests=bill.failed_requests,
        tokens_used=bill.tokens_used,
        quota_tokens=bill.quota_tokens,
        budget_pusd=None if bill.budget_usd is None else parse_usd(bill.budget_usd),
        estimated_tokens=bill.estimated_tokens,
        content_filter_flags=bill.content_filter_flags,
        cost_pusd=parse_usd(bill.exact_cost_usd),
        cost_cents=parse_cents(bill.total_cost_usd),
        chain_heads=bill.chain_heads,
        entries=bill.entries,
        lines=tuple(_read_line(line, bill.cost_center) for line in bill.lines),
    )


def _written_line(line: StatementLine, of_tenant: str) -> _Line:
    return _Line(
        deployment=line.deployment,
        model=line.model,
        meter=line.meter,
        quantity=line.quantity,
        cost_usd=usd_of_cents(line.cost_cents),
        exact_cost_usd=usd(line.cost_pusd),
        cost_center=msgspec.UNSET if line.cost_center == of_tenant else line.cost_center,
    )


def _read_line(line: _Line, of_tenant: str) -> StatementLine:
    return StatementLine(
        cost_center=of_tenant if isinstance(line.cost_center, msgspec.UnsetType) else line.cost_center,
        deployment=line.deployment,
        model=line.model,
        meter=line.meter,
        quantity=line.quantity,
        cost_pusd=parse_usd(line.exact_cost_usd),
        cost_cents=parse_cents(line.cost_usd),
    )
