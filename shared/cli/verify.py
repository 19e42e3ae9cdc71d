"""`tallygate verify`: check the books of a billing period against every invariant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from shared.application.ledger.verify_ledger import INVARIANTS, Finding, VerifyLedger
from shared.cli.command import NoAnswer, Period, print_json, progress, run_to_end
from shared.composition.gateway import build
from shared.composition.ledger import open_archive
from shared.domain.values import value
from shared.settings import read_settings

SHOWN_FINDINGS = 20
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@value
class Verification:
    """The result for one period: the number of tenants, and everything that is wrong."""

    period: str
    tenants: int
    findings: Sequence[Finding]


@click.command()
@click.option("--period", type=Period(), help="The period to check, in the storage of the settings.")
@click.option("--archive", type=_FILE, help="Check a file of `tallygate backup` instead. Needs no storage.")
@click.option("--tenant", metavar="ID", help="Check only this tenant.")
@click.option(
    "--acknowledged",
    type=_FILE,
    help="A file of request ids, separated by spaces or lines. Each must be booked exactly once.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document with every finding.")
def verify(
    period: str | None, archive: Path | None, tenant: str | None, acknowledged: Path | None, *, as_json: bool
) -> int:
    """Check the books of a billing period against every invariant.

    The invariants I1 to I13 are explained in docs/reference/ledger.md. A gateway may go on serving meanwhile.

    \b
    Examples:
      tallygate verify --period 2026-11
      tallygate verify --period 2026-11 --tenant blue-team --json
      tallygate verify --archive 2026-11.gz
    """
    if (period is None) == (archive is None):
        raise click.UsageError("Give either --period or --archive.")
    if archive is not None and acknowledged is not None:
        raise click.UsageError("--acknowledged needs --period.")
    if archive is not None:
        result = run_to_end(_verify_archive(archive, tenant))
    else:
        result = run_to_end(_verify_period(str(period), tenant, _read_request_ids(acknowledged)))
    (_print_json if as_json else _print_text)(result)
    return 1 if result.findings else 0


def _read_request_ids(file: Path | None) -> set[str]:
    try:
        return set(file.read_text("utf-8").split()) if file else set()
    except (OSError, UnicodeDecodeError) as error:
        raise NoAnswer(f"{file} cannot be read as text.") from error


async def _verify_period(period: str, tenant: str | None, acknowledged: set[str]) -> Verification:
    gateway = await build(read_settings())
    try:
        tenants, findings = await _verify_lanes(gateway.ledger.verify, period, tenant)
        if tenant is None:
            findings += await gateway.billing.verify_statements(period)
        findings += await gateway.ledger.verify_promises(period, acknowledged, tenant)
    finally:
        await gateway.aclose()
    return Verification(period, tenants, findings)


async def _verify_archive(archive: Path, tenant: str | None) -> Verification:
    verify_ledger, period = await open_archive(read_settings(), archive)
    return Verification(period, *await _verify_lanes(verify_ledger, period, tenant))


async def _verify_lanes(verify_ledger: VerifyLedger, period: str, tenant: str | None) -> tuple[int, list[Finding]]:
    total, done, findings = await verify_ledger.count_tenants(period, tenant), 0, list[Finding]()
    with progress("Tenants verified") as report:
        async for _, found in verify_ledger(period, tenant):
            done += 1
            findings += found
            report(done, total)
    return done, findings


def _print_text(result: Verification) -> None:
    violations = Counter(finding.invariant for finding in result.findings)
    click.echo(f"Period {result.period}: {result.tenants} tenants")
    for name, statement in INVARIANTS.items():
        click.echo(f"  {name:4} {'VIOLATED' if violations[name] else 'holds   '}  {statement}")
    for finding in result.findings[:SHOWN_FINDINGS]:
        click.echo(f"  {finding.invariant} {finding.tenant_id or result.period}: {finding.message}")
    if len(result.findings) > SHOWN_FINDINGS:
        click.echo(f"  ... and {len(result.findings) - SHOWN_FINDINGS} more; --json prints all")


def _print_json(result: Verification) -> None:
    violations = Counter(finding.invariant for finding in result.findings)
    print_json(
        {
            "period": result.period,
            "tenants": result.tenants,
            "holds": {name: not violations[name] for name in INVARIANTS},
            "findings": [asdict(finding) for finding in result.findings],
        }
    )
