"""`python -m shared.backup export --period YYYY-MM --file F` and `restore --file F`: a period's books as a file.

Exit 0 if it is done, 2 if not: bad arguments or settings, a damaged file, storage that cannot be reached.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.composition.gateway import build
from shared.domain.errors import GatewayError
from shared.domain.identifiers import BillingPeriod
from shared.settings import SettingsInvalid, read_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default those of the process."""
    parser = argparse.ArgumentParser(prog="python -m shared.backup", description="A billing period's books as a file.")
    actions = parser.add_subparsers(dest="action", required=True)
    export = actions.add_parser("export", help="write a period to a file")
    export.add_argument("--period", required=True, help="the billing period, YYYY-MM")
    restore = actions.add_parser("restore", help="insert a file's rows into an empty account")
    for action in (export, restore):
        action.add_argument("--file", required=True, type=Path)
    options = parser.parse_args(arguments)
    try:
        print(asyncio.run(_run(options)))
    except (GatewayError, SettingsInvalid, OSError) as error:
        print(f"backup: {error}", file=sys.stderr)
        return 2
    return 0


async def _run(options: argparse.Namespace) -> str:
    gateway = await build(read_settings())
    try:
        if options.action == "export":
            period = str(BillingPeriod.parse(options.period))
            return f"{await gateway.ledger.archive.export(period, options.file)} rows of {period} are in {options.file}"
        return f"{await gateway.ledger.archive.restore(options.file)} is restored from {options.file}"
    finally:
        await gateway.aclose()


if __name__ == "__main__":
    sys.exit(main())
