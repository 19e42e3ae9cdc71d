"""The usage report as JSON, for administrators and for the tenant itself."""

from __future__ import annotations

from collections import defaultdict

from starlette.requests import Request
from starlette.responses import Response

from shared.composition.gateway import Gateway
from shared.domain.billing.statements import utilization_percent
from shared.domain.billing.usage_report import Grouping, GroupUsage, UsageReport
from shared.domain.errors import InvalidRequest
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.rollup import Rollup
from shared.domain.pricing.money import usd
from shared.http.endpoint import json_response


async def usage_response(gateway: Gateway, request: Request, tenant_id: str) -> Response:
    """Answer `?period=YYYY-MM&group_by=deployment,user,application,day` for a tenant; by default of the current period.

    Raises `InvalidRequest` for another period or grouping, and `NotFound` for an unknown tenant.
    """
    period, groupings = period_of(gateway, request), _groupings(request)
    return json_response(usage_document(await gateway.billing.usage.usage(tenant_id, period, groupings)))


def period_of(gateway: Gateway, request: Request) -> str:
    """Return the billing period of the query, by default the current one. Raises `InvalidRequest`."""
    text = request.query_params.get("period")
    return str(BillingPeriod.parse(text) if text else BillingPeriod.containing(gateway.clock.now()))


def _groupings(request: Request) -> list[Grouping]:
    try:
        return [Grouping(name) for name in request.query_params.get("group_by", "").split(",") if name]
    except ValueError:
        raise InvalidRequest(f"'group_by' takes {', '.join(Grouping)}.", "group_by") from None


def usage_document(report: UsageReport) -> dict[str, object]:
    """Render a report: its totals, and a list for each grouping, as `users` for `user`."""
    tenant, limit, total = report.tenant, report.limit, report.total
    totals: dict[str, object] = {
        "tenant_id": tenant.tenant_id,
        "tenant_name": tenant.name,
        "cost_center": tenant.cost_center,
        "period": report.period,
        "period_state": report.state,
        "tokens_used": report.used.tokens,
        "tokens_reserved": report.reserved.tokens,
        "quota_tokens": limit.tokens,
        "utilization_percent": utilization_percent(report.used.tokens, limit.tokens),
        "total_cost_usd": usd(report.used.pusd),
        "budget_usd": usd_or_null(limit.pusd),
        "requests": total.requests,
        "failed_requests": total.failed_requests,
        "estimated_tokens": total.estimated_tokens,
        "content_filter_flags": total.content_filter_flags,
        "content_filter": _by_category(total),
    }
    return totals | {
        f"{grouping}s": [_group_document(grouping, each) for each in found] for grouping, found in report.groups.items()
    }


def usd_or_null(pusd: int | None) -> str | None:
    """Render an amount; `None` for no limit."""
    return None if pusd is None else usd(pusd)


def _group_document(grouping: Grouping, usage: GroupUsage) -> dict[str, object]:
    identity: dict[str, object] = {grouping.value: usage.group.name}
    if usage.group.model:
        identity["model"] = usage.group.model
    sums = usage.sums
    return identity | {
        "requests": sums.requests,
        "input_tokens": sums.usage.input_tokens,
        "cached_input_tokens": sums.usage.cached_input,
        "output_tokens": sums.usage.output_tokens,
        "total_tokens": sums.tokens,
        "cost_usd": usd(sums.cost_pusd),
        "content_filter": _by_category(sums),
    }


def _by_category(sums: Rollup) -> dict[str, dict[str, int]]:
    """Count requests by category of the content filter, and by severity or verdict."""
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for finding, count in sorted(sums.findings.items()):
        category, _, verdict = finding.partition(":")
        counts[category][verdict] = count
    return counts
