"""`tallygate evidence`: the evidence of whole periods in one file."""

from __future__ import annotations

from pathlib import Path

import click

from shared.adapters.on_disk.evidence_package import PackageWriter
from shared.application.ports.evidence import PackageFacts
from shared.cli.command import Period, open_gateway, print_json, progress, run_to_end


@click.command()
@click.option("--period", "periods", type=Period(), required=True, multiple=True, help="A period; repeatable.")
@click.option("--tenant", metavar="ID", help="Only this tenant. Other tenants are then not in the file.")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The zip file to write.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def evidence(periods: tuple[str, ...], tenant: str | None, file: Path, *, as_json: bool) -> int:
    """Write the evidence of billing periods to a zip file.

    The file holds the ledger with its prices, the statements, the audit log, the history of the configuration, the log
    of anchors, and a page to read. `tallygate verify --archive` verifies it. It holds no secret.

    \b
    Example:
      tallygate evidence --period 2026-10 --period 2026-11 --file evidence.zip
      tallygate evidence --period 2026-11 --tenant blue-team --file blue-team.zip
    """
    chosen = sorted({*periods})
    run_to_end(_export(chosen, tenant, file))
    if as_json:
        print_json({"periods": chosen, "tenant": tenant, "file": str(file)})
    else:
        click.echo(f"The evidence of {', '.join(chosen)} is in {file}")
    return 0


async def _export(periods: list[str], tenant: str | None, file: Path) -> None:
    gateway = await open_gateway()
    try:
        facts = PackageFacts(origin=gateway.anchors.origin, tenant=tenant, periods=periods)
        with progress("Leaves written") as report, PackageWriter(file, facts) as package:
            await gateway.evidence(facts, package, report)
    finally:
        await gateway.aclose()
