"""`tallygate backup` and `tallygate restore`: the books of a billing period as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from shared.cli.command import Period, open_gateway, print_json, progress, run_to_end
from shared.cli.verification import printable
from shared.domain.pricing.damaged_price import DamagedPrice


@click.command()
@click.option("--period", type=Period(), required=True, help="The period to write, open or closed.")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def backup(period: str, file: Path, *, as_json: bool) -> int:
    """Write the books of a billing period to a file.

    The file holds every row of the ledger and its rollups, and the price book. Each tenant's lanes are written as they
    were at one moment. A gateway may go on serving meanwhile. Damaged rows of the price book are left out, and named.

    \b
    Example:
      tallygate backup --period 2026-11 --file 2026-11.gz
    """
    rows, damaged = run_to_end(_backup(period, file))
    for each in damaged:
        click.echo(printable(f"The file lacks the damaged row {each}."), err=True)
    if as_json:
        print_json({"period": period, "rows": rows, "file": str(file)})
    else:
        click.echo(f"{rows} rows of {period} are in {file}")
    return 0


@click.command()
@click.option(
    "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="The file to read."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def restore(file: Path, *, as_json: bool) -> int:
    """Insert the rows of a file into an empty storage account.

    Nothing is written if the file is damaged. A row that exists with other content stops the command. It can be
    repeated after a failure.

    \b
    Example:
      tallygate restore --file 2026-11.gz
    """
    period = run_to_end(_restore(file))
    if as_json:
        print_json({"period": period, "file": str(file)})
    else:
        click.echo(f"{period} is restored from {file}")
    return 0


async def _backup(period: str, file: Path) -> tuple[int, Sequence[DamagedPrice]]:
    """Write the file. Returns the number of its rows, and the prices that it lacks."""
    gateway = await open_gateway()
    try:
        with progress("Tenants written") as report:
            rows = await gateway.ledger.archive.export(period, file, report)
        return rows, (await gateway.pricing.prices.list()).damaged
    finally:
        await gateway.aclose()


async def _restore(file: Path) -> str:
    gateway = await open_gateway()
    try:
        with progress("Rows restored") as report:
            return await gateway.ledger.archive.restore(file, report)
    finally:
        await gateway.aclose()
