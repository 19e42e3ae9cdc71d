"""`python -m shared.verify --period YYYY-MM`: check the books. Exit 0 if every invariant holds, 1 if one is violated.

`--tenant` checks one tenant, `--json` prints a document, `--archive FILE` checks an exported period, and
`--acknowledged FILE`
compares the books with what clients were told. Progress goes to stderr.

Exit 2 means that nothing could be said: bad arguments or settings, or storage that cannot be reached.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from shared.application.ledger.verify_ledger import INVARIANTS, Finding, VerifyLedger
from shared.composition.gateway import build
from shared.composition.ledger import open_archive
from shared.domain.errors import GatewayError
from shared.domain.identifiers import BillingPeriod
from shared.settings import SettingsInvalid, read_settings

SHOWN_FINDINGS = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default those of the process."""
    parser = argparse.ArgumentParser(prog="python -m shared.verify", description="Check the books of a billing period.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--period", help="the billing period, YYYY-MM, in the tables of the settings")
    source.add_argument("--archive", type=Path, help="a file of `python -m shared.backup export`")
    parser.add_argument("--tenant", help="only this tenant")
    parser.add_argument(
        "--acknowledged", type=Path, help="a file of request ids, each of an answer that a client received as complete"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, with every finding")
    options = parser.parse_args(arguments)
    try:
        return asyncio.run(_verify(options))
    except (GatewayError, SettingsInvalid, OSError) as error:
        print(f"verify: {error}", file=sys.stderr)
        return 2


async def _verify(options: argparse.Namespace) -> int:
    settings = read_settings()
    if options.archive is not None:
        verify, period = await open_archive(settings, options.archive)
        tenants, findings = await _collect(verify, period, options.tenant)
    else:
        period = str(BillingPeriod.parse(options.period))
        gateway = await build(settings)
        try:
            tenants, findings = await _collect(gateway.ledger.verify, period, options.tenant)
            if options.tenant is None:
                findings += await gateway.billing.verify_statements(period)
            acknowledged = set(options.acknowledged.read_text().split()) if options.acknowledged else set[str]()
            findings += await gateway.ledger.verify_promises(period, acknowledged, options.tenant)
        finally:
            await gateway.aclose()
    (_report_json if options.json else _report)(period, tenants, findings)
    return 1 if findings else 0


async def _collect(verify: VerifyLedger, period: str, tenant: str | None) -> tuple[int, list[Finding]]:
    tenants, findings = 0, list[Finding]()
    async for name, found in verify(period, tenant):
        tenants += 1
        findings += found
        print(f"{tenants} {name}: {len(found) or 'no'} findings", file=sys.stderr)
    return tenants, findings


def _report(period: str, tenants: int, findings: Sequence[Finding]) -> None:
    violations = Counter(finding.invariant for finding in findings)
    print(f"Period {period}: {tenants} tenants")
    for name, statement in INVARIANTS.items():
        print(f"  {name:4} {'VIOLATED' if violations[name] else 'holds   '}  {statement}")
    for finding in findings[:SHOWN_FINDINGS]:
        print(f"  {finding.invariant} {finding.tenant_id or period}: {finding.message}")
    if len(findings) > SHOWN_FINDINGS:
        print(f"  ... and {len(findings) - SHOWN_FINDINGS} more")


def _report_json(period: str, tenants: int, findings: Sequence[Finding]) -> None:
    violations = Counter(finding.invariant for finding in findings)
    holds = {name: not violations[name] for name in INVARIANTS}
    document = {"period": period, "tenants": tenants, "holds": holds, "findings": [asdict(each) for each in findings]}
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    sys.exit(main())
