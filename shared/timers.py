"""The work of the timer functions. Running one late, twice, concurrently or by hand is harmless."""

from __future__ import annotations

import logging

from shared.application.sweep import Failures
from shared.composition.process import current_gateway

logger = logging.getLogger("tallygate")


async def reset_monthly_quotas(*, past_due: bool) -> None:
    """Open the current period for all tenants, from day 25 also the next, and begin to close the previous one."""
    gateway = await current_gateway()
    opened = await gateway.ledger.open_period()
    logger.info("opened the period for %d tenants (past due: %s)", opened, past_due)


async def export_chargeback(*, past_due: bool) -> None:
    """Close every period whose grace time is over, and write its statements."""
    gateway = await current_gateway()
    for period, files in (await gateway.billing.export_chargeback()).items():
        written = ", ".join(f"{file.name} {file.sha256}" for file in files)
        logger.info("period %s: exported %s (past due: %s)", period, written or "nothing yet", past_due)


async def expire_reservations(*, past_due: bool) -> None:
    """Expire the reservations past their deadline."""
    gateway = await current_gateway()
    expired = await gateway.ledger.expire_reservations()
    if expired:
        logger.warning("expired %d reservations (past due: %s)", expired, past_due)


async def level_lanes(*, past_due: bool) -> None:
    """Complete the transfers between lanes that a process left half done when it died."""
    gateway = await current_gateway()
    completed = await gateway.ledger.level_lanes()
    if completed:
        logger.warning("completed %d transfers between lanes (past due: %s)", completed, past_due)


async def settle_background_responses(*, past_due: bool) -> None:
    """Book the responses that upstream has completed in the background."""
    gateway = await current_gateway()
    settled = await gateway.inference.settle_background()
    if settled:
        logger.info("settled %d background responses (past due: %s)", settled, past_due)


async def reconcile_limits(*, past_due: bool) -> None:
    """Correct limits in the books, and rows in the index of principals, by the tenants' documents."""
    gateway = await current_gateway()
    try:
        corrected = await gateway.tenancy.reconcile_limits()
        if corrected:
            logger.warning("corrected the limits of %d periods (past due: %s)", corrected, past_due)
    finally:
        repaired = await gateway.tenancy.reconcile_principals()
        if repaired:
            logger.info("added or removed %d rows of principals (past due: %s)", repaired, past_due)


async def chain_audit(*, past_due: bool) -> None:
    """Chain the audit events that wait, record weak settings and the baseline, and delete what retention has ended."""
    audit, failures, removed = (await current_gateway()).audit, Failures(), 0
    with failures.collected("the settings"):
        await audit.record_protections()
    with failures.collected("the baseline"):
        recorded = await audit.record_baseline()
        if recorded:
            logger.info("recorded %d documents that had no audit event (past due: %s)", recorded, past_due)
    with failures.collected("retention"):
        removed = await audit.periods.expire()
    if removed:
        logger.warning("deleted %d audit events, because their retention is over (past due: %s)", removed, past_due)
    chained = await audit.chain_events()
    if chained:
        logger.info("chained %d audit events (past due: %s)", chained, past_due)
    failures.raise_any()


async def roll_up_usage(*, past_due: bool) -> None:
    """Sum new entries into rollups."""
    gateway = await current_gateway()
    added = await gateway.ledger.roll_up_usage()
    logger.info("rolled up %d entries (past due: %s)", added, past_due)


async def anchor_audit(*, past_due: bool) -> None:
    """Anchor the heads of all hash chains."""
    gateway = await current_gateway()
    if gateway.anchors.anchor_heads is None:
        logger.warning("nothing is anchored: AUDIT_SIGNING_KEY_NAME is not set (past due: %s)", past_due)
        return
    anchored = await gateway.anchors.anchor_heads()
    logger.info("anchored %d heads in leaf %d (past due: %s)", anchored.heads, anchored.size - 1, past_due)
