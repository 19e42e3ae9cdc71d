"""`python -m shared.verify --period YYYY-MM`: check the books. Exit 0 if every invariant holds, 1 if one is violated.

Exit 2 means that nothing could be said: bad arguments or settings, or storage that cannot be reached.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Sequence

from shared.application.verify_ledger import INVARIANTS, Finding
from shared.composition import Gateway, build
from shared.domain.errors import GatewayError
from shared.domain.identifiers import BillingPeriod
from shared.settings import SettingsInvalid, read_settings

SHOWN_FINDINGS = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default those of the process."""
    parser = argparse.ArgumentParser(prog="python -m shared.verify", description="Check the books of a billing period.")
    parser.add_argument("--period", required=True, help="the billing period, YYYY-MM")
    options = parser.parse_args(arguments)
    try:
        return asyncio.run(_verify(str(BillingPeriod.parse(options.period))))
    except (GatewayError, SettingsInvalid) as error:
        print(f"verify: {error}", file=sys.stderr)
        return 2


async def _verify(period: str) -> int:
    gateway = await build(read_settings())
    try:
        tenants, findings = await _collect(gateway, period)
    finally:
        await gateway.aclose()
    _report(period, tenants, findings)
    return 1 if findings else 0


def _report(period: str, tenants: int, findings: Sequence[Finding]) -> None:
    violations = Counter(finding.invariant for finding in findings)
    print(f"Period {period}: {tenants} tenants")
    for name, statement in INVARIANTS.items():
        print(f"  {name:4} {'VIOLATED' if violations[name] else 'holds   '}  {statement}")
    for finding in findings[:SHOWN_FINDINGS]:
        print(f"  {finding.invariant} {finding.tenant_id}: {finding.message}")
    if len(findings) > SHOWN_FINDINGS:
        print(f"  ... and {len(findings) - SHOWN_FINDINGS} more")


async def _collect(gateway: Gateway, period: str) -> tuple[int, list[Finding]]:
    tenants, findings = 0, list[Finding]()
    async for _, found in gateway.verify(period):
        tenants += 1
        findings += found
    return tenants, findings


if __name__ == "__main__":
    sys.exit(main())
