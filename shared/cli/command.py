"""The parts that all commands share: errors, billing periods and progress."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from shared.cli.verification import printable
from shared.domain.errors import GatewayError
from shared.domain.identifiers import BillingPeriod
from shared.setting_problems import SettingsInvalid

if TYPE_CHECKING:
    from shared.composition.gateway import Gateway

T = TypeVar("T")


class NoAnswer(click.ClickException):
    """The command could neither finish nor decide. Exit status 2."""

    exit_code = 2


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work. Raises `NoAnswer` for an expected error."""
    try:
        return asyncio.run(work)
    except (GatewayError, SettingsInvalid, OSError) as error:
        raise NoAnswer("\n".join(map(printable, str(error).split("\n")))) from error


async def open_gateway() -> Gateway:
    """Open the gateway of the settings. Raises `SettingsInvalid`."""
    # imported here, so that commands over files load neither settings nor clients of Azure
    from shared.composition.gateway import build
    from shared.settings import read_settings

    return await build(read_settings())


class Period(click.ParamType[str]):
    """A billing period, `YYYY-MM`."""

    name = "YYYY-MM"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(BillingPeriod.parse(value))
        except GatewayError as error:
            self.fail(str(error), param, ctx)


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr, if that is a terminal. Yields a function that takes done and total."""
    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def report(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield report


def print_json(document: object) -> None:
    """Print one JSON document to stdout."""
    click.echo(json.dumps(document, indent=2))
