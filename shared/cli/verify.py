"""`tallygate verify`: check the books of a billing period against every invariant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click

from shared.application.billing.verify_statements import VerifyStatements
from shared.application.ledger.chain_report import METHOD_NAMES, ChainedEntries
from shared.application.ledger.findings import INVARIANTS, Finding, NotChecked, findings_of
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.application.ports.anchors import AnchoredHeads
from shared.cli.anchors import check_anchors
from shared.cli.command import NoAnswer, Period, print_json, progress, run_to_end
from shared.composition.gateway import build
from shared.composition.ledger import open_archive
from shared.domain.errors import RowsDamaged
from shared.domain.values import record
from shared.settings import read_settings

SHOWN_FINDINGS = 20
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@record
class Verification:
    """The result for one period: the number of tenants, everything that is wrong, and what was not looked at."""

    period: str
    tenants: int
    chained: Sequence[ChainedEntries]
    findings: Sequence[Finding]
    not_checked: Sequence[NotChecked]
    notes: Sequence[str] = ()
    """Facts about anchors that are no violation by themselves, such as times without one."""

    @property
    def status(self) -> int:
        """The exit status of the command."""
        if self.findings:
            return 1
        return 2 if any(each.is_open for each in self.not_checked) else 0

    def result(self, invariant: str) -> bool | None:
        """Tell if an invariant holds; `None` if nobody can say, or nothing of it was checked."""
        if any(finding.invariant == invariant for finding in self.findings):
            return False
        missing = [each for each in self.not_checked if each.invariant == invariant]
        return None if any(each.is_all or each.is_open for each in missing) else True


_FORGED_RESERVATION = NotChecked(
    invariant="I4", reason="a reservation that was forged together with the balance: only entries are chained"
)
_UNCHECKED_IN_ARCHIVES = (
    NotChecked(invariant="I2", reason="a complete rollback: if all rows are as they were earlier, nothing shows it"),
    _FORGED_RESERVATION,
    NotChecked(invariant="I12", reason="an archive has no statements", is_all=True),
    NotChecked(invariant="I13", reason="an archive is not compared with what clients received", is_all=True),
    NotChecked(invariant="I14", reason="an archive does not tell when it was written", is_all=True),
    NotChecked(invariant="I9", reason="an archive does not tell if its period was over"),
    NotChecked(invariant="I10", reason="an archive has no ids of prices: only prices of entries are checked"),
    NotChecked(invariant="I15", reason="an archive does not tell 32-bit from 64-bit numbers"),
    NotChecked(invariant="I16", reason="an archive has no documents of tenants"),
    NotChecked(invariant="I17", reason="an archive has no documents of tenants", is_all=True),
)


@click.command()
@click.option("--period", type=Period(), help="The period to check, in the storage of the settings.")
@click.option("--archive", type=_FILE, help="Check a file of `tallygate backup` instead. Needs no storage.")
@click.option("--tenant", metavar="ID", help="Check only this tenant.")
@click.option(
    "--acknowledged",
    type=_FILE,
    help="A file of request ids, separated by spaces or lines. Each must be booked exactly once.",
)
@click.option(
    "--public-key",
    type=_FILE,
    help="A PEM file of `tallygate public-key`: trust only these keys. By default those of the gateway are trusted.",
)
@click.option(
    "--checkpoints",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of checkpoints that you kept. The log of anchors must contain them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document with every finding.")
def verify(
    period: str | None,
    archive: Path | None,
    tenant: str | None,
    acknowledged: Path | None,
    public_key: Path | None,
    checkpoints: Path | None,
    *,
    as_json: bool,
) -> int:
    """Check the books of a billing period against every invariant.

    The invariants I1 to I17 are explained in docs/reference/ledger.md. A gateway may go on serving meanwhile.
    The command also lists what it did not check.

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
    if archive is not None and (public_key is not None or checkpoints is not None):
        raise click.UsageError("--public-key and --checkpoints need --period.")
    if archive is not None:
        result = run_to_end(_verify_archive(archive, tenant))
    else:
        told = None if acknowledged is None else _read_request_ids(acknowledged)
        result = run_to_end(_verify_period(str(period), tenant, told, public_key, checkpoints))
    (_print_json if as_json else _print_text)(result)
    return result.status


def _read_request_ids(file: Path) -> set[str]:
    try:
        return set(file.read_text("utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise NoAnswer(f"{file} cannot be read as text.") from error


async def _verify_period(
    period: str,
    tenant: str | None,
    acknowledged: set[str] | None,
    public_key: Path | None,
    checkpoints: Path | None,
) -> Verification:
    gateway = await build(read_settings())
    try:
        # Anchors first: what is anchored meanwhile is newer than the entries that are read.
        anchors = await check_anchors(gateway, period, tenant, public_key, checkpoints)
        tenants, findings = await _verify_lanes(gateway.ledger.verify, period, tenant, anchors.anchored)
        findings += anchors.findings
        documents = await gateway.ledger.verify_tenants(period, tenant)
        findings += documents.findings
        not_checked = [*anchors.not_checked, _FORGED_RESERVATION, *_unproven(gateway.ledger.verify)]
        not_checked += documents.not_checked
        findings += findings_of(await gateway.ledger.price_records.faults(), "I10", "")
        findings += await gateway.ledger.verify_promises(period, acknowledged or (), tenant)
        if acknowledged is None:
            not_checked.append(NotChecked(invariant="I13", reason="no file is given with --acknowledged", is_all=True))
        if tenant is not None:
            not_checked.append(NotChecked(invariant="I12", reason="only one tenant is checked", is_all=True))
        else:
            await _verify_statements(gateway.billing.verify_statements, period, findings, not_checked)
    finally:
        await gateway.aclose()
    result = _verification(gateway.ledger.verify, period, tenants, findings, not_checked)
    return replace(result, notes=anchors.notes)


async def _verify_statements(
    verify_statements: VerifyStatements, period: str, findings: list[Finding], not_checked: list[NotChecked]
) -> None:
    try:
        if await verify_statements.is_exported(period):
            findings += await verify_statements(period)
            return
        reason = "the period has no manifest"
    except RowsDamaged as error:  # it is a finding of its own
        reason = str(error)
    not_checked.append(NotChecked(invariant="I12", reason=reason, is_all=True))


async def _verify_archive(archive: Path, tenant: str | None) -> Verification:
    verify_ledger, period = await open_archive(read_settings(), archive)
    tenants, findings = await _verify_lanes(verify_ledger, period, tenant)
    not_checked = [*_UNCHECKED_IN_ARCHIVES, *_unproven(verify_ledger)]
    return _verification(verify_ledger, period, tenants, findings, not_checked)


def _verification(
    verify_ledger: VerifyLedger, period: str, tenants: int, findings: list[Finding], not_checked: list[NotChecked]
) -> Verification:
    chained = verify_ledger.chained.rows()
    return Verification(period=period, tenants=tenants, chained=chained, findings=findings, not_checked=not_checked)


def _unproven(verify_ledger: VerifyLedger) -> Iterator[NotChecked]:
    yield from verify_ledger.chained.unproven()
    if lanes := len(verify_ledger.unproven):
        yield NotChecked(
            invariant="I8", reason=f"limit0 of {lanes} lanes: an earlier version changed their limit first"
        )


async def _verify_lanes(
    verify_ledger: VerifyLedger, period: str, tenant: str | None, anchored: AnchoredHeads | None = None
) -> tuple[int, list[Finding]]:
    total, done, findings = await verify_ledger.count_tenants(period, tenant), 0, list[Finding]()
    with progress("Tenants verified") as report:
        async for name, found in verify_ledger(period, tenant, anchored):
            done += bool(name)
            findings += found
            report(done, total)
    return done, findings


_RESULTS = {True: "holds", False: "VIOLATED", None: "unchecked"}


def _print_text(result: Verification) -> None:
    click.echo(f"Period {result.period}: {result.tenants} tenants")
    for name, statement in INVARIANTS.items():
        click.echo(f"  {name:4} {_RESULTS[result.result(name)]:9}  {statement}")
    for chained in result.chained:
        method = METHOD_NAMES[chained.method]
        click.echo(f"  {chained.entries} entries: {method}, key version {chained.key_version}, last {chained.last}")
    for finding in result.findings[:SHOWN_FINDINGS]:
        place = " ".join(filter(None, (finding.table, finding.partition, finding.row, finding.property_name)))
        where = f" ({place})" if place else ""
        click.echo(f"  {finding.invariant} {finding.tenant_id or result.period}: {finding.message}{where}")
    if len(result.findings) > SHOWN_FINDINGS:
        click.echo(f"  ... and {len(result.findings) - SHOWN_FINDINGS} more; --json prints all")
    for note in result.notes[:SHOWN_FINDINGS]:
        click.echo(f"  note: {note}")
    if len(result.notes) > SHOWN_FINDINGS:
        click.echo(f"  ... and {len(result.notes) - SHOWN_FINDINGS} more notes; --json prints all")
    click.echo("Not checked:")
    for each in result.not_checked:
        click.echo(f"  {each.invariant:4} {each.reason}")


def _print_json(result: Verification) -> None:
    print_json(
        {
            "period": result.period,
            "tenants": result.tenants,
            "holds": {name: result.result(name) for name in INVARIANTS},
            "chained": [asdict(each) for each in result.chained],
            "findings": [_finding(finding) for finding in result.findings],
            "notes": list(result.notes),
            "not_checked": [{"invariant": each.invariant, "reason": each.reason} for each in result.not_checked],
        }
    )


def _finding(finding: Finding) -> dict[str, str]:
    """Return a finding as JSON. Its place has as many parts as are known."""
    fields: dict[str, str] = asdict(finding)
    fields["property"] = fields.pop("property_name")
    return fields
