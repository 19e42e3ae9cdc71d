"""`tallygate`: the command line of the gateway. Exit status: 0 done or everything holds, 1 a violation, 2 no answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from shared.cli.anchors import public_key
from shared.cli.archive import backup, restore
from shared.cli.evidence import evidence
from shared.cli.verify import verify
from shared.cli.verify_proof import verify_entry_proof


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def tallygate() -> None:
    """Check and archive the books of a Tallygate gateway.

    Every command reads the same settings as the gateway, from environment variables
    (docs/reference/configuration.md). `tallygate COMMAND --help` explains one command with examples.

    \b
    Exit status:
      0  done, or every invariant holds
      1  an invariant is violated
      2  no answer: wrong arguments or settings, a damaged file, or storage that cannot be reached
    """


for _command in (verify, verify_entry_proof, evidence, backup, restore, public_key):
    tallygate.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command, by default with the arguments of this process. Returns its exit status."""
    try:
        status = tallygate.main(arguments, prog_name="tallygate", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("Aborted.", err=True)
        return 2
    return int(status or 0)


def main() -> None:
    """Run the command of this process and exit with its status."""
    sys.exit(run())


if __name__ == "__main__":
    main()
