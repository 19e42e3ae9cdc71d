"""The result of a verification, and how it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from shared.application.ledger.chain_report import METHOD_NAMES, ChainedEntries
from shared.application.ledger.findings import INVARIANTS, Finding, NotChecked
from shared.domain.values import record

SHOWN_FINDINGS = 20
ALWAYS_UNCHECKED = (
    NotChecked(
        invariant="I4", reason="a reservation that was forged together with the balance: only entries are chained"
    ),
)
_RESULTS = {True: "holds", False: "VIOLATED", None: "unchecked"}


@record
class Verification:
    """The result for one period: the number of tenants, everything that is wrong, and what was not looked at."""

    period: str
    tenants: int
    chained: Sequence[ChainedEntries]
    findings: Sequence[Finding]
    not_checked: Sequence[NotChecked]
    notes: Sequence[str] = ()
    """Facts that are no violation by themselves, such as times without an anchor, or grants without an entry."""
    proved: Sequence[str] = ()
    """Sentences for somebody who does not know the invariants. Empty if something is wrong."""

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


def status_of(results: Sequence[Verification]) -> int:
    """Return the exit status of several results: 1 if anything is wrong, 2 if nobody can say, else 0."""
    statuses = {each.status for each in results}
    return 1 if 1 in statuses else max(statuses, default=2)


def print_result(result: Verification) -> None:
    """Print a result as text."""
    click.echo(f"Period {result.period}: {result.tenants} tenants")
    for name, statement in INVARIANTS.items():
        click.echo(f"  {name:4} {_RESULTS[result.result(name)]:9}  {statement}")
    for chained in result.chained:
        method = METHOD_NAMES[chained.method]
        version = chained.key_version + ("" if chained.is_key_known else " (missing)")
        told = f"{chained.entries} entries: {method}, key version {version}, last {chained.last}"
        click.echo(f"  {printable(told)}")
    _print_findings(result)
    for note in result.notes[:SHOWN_FINDINGS]:
        click.echo(f"  note: {printable(note)}")
    if len(result.notes) > SHOWN_FINDINGS:
        click.echo(f"  ... and {len(result.notes) - SHOWN_FINDINGS} more notes; --json prints all")
    if result.proved:
        click.echo("Proved:")
        for sentence in result.proved:
            click.echo(f"  {sentence}")
    click.echo("Not checked:")
    for each in result.not_checked:
        click.echo(f"  {each.invariant:4} {printable(each.reason)}")


def _print_findings(result: Verification) -> None:
    if result.findings:
        click.echo(f"The first thing that is wrong: {_told(result, result.findings[0])}")
    for finding in result.findings[:SHOWN_FINDINGS]:
        click.echo(f"  {finding.invariant} {_told(result, finding)}")
    if len(result.findings) > SHOWN_FINDINGS:
        click.echo(f"  ... and {len(result.findings) - SHOWN_FINDINGS} more; --json prints all")


def as_document(result: Verification) -> dict[str, Any]:
    """Return a result as a JSON document."""
    findings = [asdict(finding) for finding in result.findings]
    for finding in findings:
        finding["property"] = finding.pop("property_name")
    document: dict[str, Any] = {
        "period": result.period,
        "tenants": result.tenants,
        "holds": {name: result.result(name) for name in INVARIANTS},
        "chained": [asdict(chained) for chained in result.chained],
        "findings": findings,
        "notes": list(result.notes),
        "not_checked": [{"invariant": each.invariant, "reason": each.reason} for each in result.not_checked],
    }
    return document | {"proved": list(result.proved)} if result.proved else document


def _told(result: Verification, finding: Finding) -> str:
    place = " ".join(filter(None, (finding.table, finding.partition, finding.row, finding.property_name)))
    where = f" ({place})" if place else ""
    return printable(f"{finding.tenant_id or result.period}: {finding.message}{where}")


def printable(text: str) -> str:
    """Escape control characters: texts of rows are those of callers, and must not reach a terminal as commands."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
