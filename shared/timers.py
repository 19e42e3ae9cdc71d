"""The work of the timer functions. Running one late, twice, concurrently or by hand is harmless.

Each returns counts of what it did, which stand in its line of the log and in `GET /manage/status`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial, wraps
from typing import Final, Protocol, TypeAlias

from shared.application.structured_log import MESSAGE, log_event
from shared.application.sweep import Failures
from shared.composition.gateway import Gateway
from shared.composition.process import current_gateway

Counts: TypeAlias = Mapping[str, int]
PERIOD: Final = "gateway.period"
FILES: Final = "gateway.files"


class Timer(Protocol):
    """The work of a timer function, as `function_app.py` calls it."""

    async def __call__(self, *, past_due: bool) -> None: ...


def timer(work: Callable[[Gateway], Awaitable[Counts]]) -> Timer:
    """Make a timer of its work. It is named as its function in `function_app.py`."""

    @wraps(work)
    async def run(*, past_due: bool) -> None:
        gateway = await current_gateway()
        await gateway.health.run_timer(work.__name__, partial(work, gateway), past_due=past_due)

    return run


@timer
async def reset_monthly_quotas(gateway: Gateway) -> Counts:
    """Open the current period for all tenants, from day 25 also the next, and begin to close the previous one."""
    return {"tenants_opened": await gateway.ledger.open_period()}


@timer
async def export_chargeback(gateway: Gateway) -> Counts:
    """Close every period whose grace time is over, and write its statements."""
    exported = await gateway.billing.export_chargeback()
    for period, files in exported.items():
        written = ", ".join(f"{file.name} {file.sha256}" for file in files)
        log_event(logging.INFO, "gateway.period.exported", {PERIOD: str(period), FILES: written})
    return {"periods": len(exported), "files_written": sum(map(len, exported.values()))}


@timer
async def expire_reservations(gateway: Gateway) -> Counts:
    """Expire the reservations past their deadline."""
    return {"reservations_expired": await gateway.ledger.expire_reservations()}


@timer
async def level_lanes(gateway: Gateway) -> Counts:
    """Complete the transfers between lanes that a process left half done when it died."""
    return {"transfers_completed": await gateway.ledger.level_lanes()}


@timer
async def settle_background_responses(gateway: Gateway) -> Counts:
    """Book the responses that upstream has completed in the background."""
    return {"responses_settled": await gateway.inference.settle_background()}


@timer
async def reconcile_limits(gateway: Gateway) -> Counts:
    """Correct limits in the books and the index of principals, and finish grants whose process died."""
    counts, failures = {}, Failures()
    with failures.collected("grants"):
        counts["grants_finished"] = await gateway.tenancy.finish_grants()
    with failures.collected("limits"):
        counts["limits_corrected"] = await gateway.tenancy.reconcile_limits()
    with failures.collected("principals"):
        counts["principals_repaired"] = await gateway.tenancy.reconcile_principals()
    failures.raise_any()
    return counts


@timer
async def describe_tenants(gateway: Gateway) -> Counts:
    """Write the cost center of each tenant into the log."""
    return {"tenants_described": await gateway.tenancy.describe_tenants()}


@timer
async def chain_audit(gateway: Gateway) -> Counts:
    """Chain the audit events that wait, record weak settings and the baseline, and delete what retention has ended."""
    audit, counts, failures = gateway.audit, {}, Failures()
    with failures.collected("the settings"):
        await audit.record_protections()
    with failures.collected("the baseline"):
        counts["documents_recorded"] = await audit.record_baseline()
    with failures.collected("retention"):
        counts["events_deleted"] = await audit.periods.expire()
    counts["events_chained"] = await audit.chain_events()
    failures.raise_any()
    return counts


@timer
async def roll_up_usage(gateway: Gateway) -> Counts:
    """Sum new entries into rollups."""
    return {"entries_rolled_up": await gateway.ledger.roll_up_usage()}


@timer
async def report_health(gateway: Gateway) -> Counts:
    """Raise an alert for each timer that is late, and tell the gauges of telemetry."""
    return {"timers_late": await gateway.health.report()}


@timer
async def verify_books(gateway: Gateway) -> Counts:
    """Verify the books that can still change, tenant after tenant."""
    return await gateway.health.verify_books()


@timer
async def anchor_audit(gateway: Gateway) -> Counts:
    """Anchor the heads of all hash chains."""
    if gateway.anchors.anchor_heads is None:
        log_event(logging.WARNING, "gateway.anchors.off", {MESSAGE: "AUDIT_SIGNING_KEY_NAME is not set"})
        return {}
    anchored = await gateway.anchors.anchor_heads()
    return {"heads_anchored": anchored.heads, "leaves": anchored.size}


@timer
async def deliver_alerts(gateway: Gateway) -> Counts:
    """Hand new alerts to the sinks that want them, and send what is due."""
    done = await gateway.alerts.deliver()
    return {"alerts_fanned_out": done.fanned_out, "alerts_delivered": done.delivered}


@timer
async def watch_budgets(gateway: Gateway) -> Counts:
    """Tell of tenants that reach thresholds of their quotas and budgets, and measure what waits for sinks."""
    counts, failures = {}, Failures()
    with failures.collected("budgets"):
        counts["alerts_raised"] = await gateway.billing.watch_budgets()
    with failures.collected("the backlog"):
        counts["alerts_dead"] = await gateway.alerts.backlog.publish()
    failures.raise_any()
    return counts


@timer
async def watch_spending(gateway: Gateway) -> Counts:
    """Tell of limits that will not last, of unusual days, and of keys that expire. Delete alerts whose time is over."""
    counts, failures = {}, Failures()
    with failures.collected("spending"):
        counts["alerts_raised"] = await gateway.billing.watch_spending()
    with failures.collected("keys"):
        counts["keys_expiring"] = await gateway.tenancy.watch_expiry()
    with failures.collected("retention"):
        counts["alerts_forgotten"] = await gateway.alerts.forget()
    failures.raise_any()
    return counts
