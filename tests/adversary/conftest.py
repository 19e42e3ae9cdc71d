"""No attack brings a secret or a prompt into the log: every line of every test of this suite is searched."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.tools.stack import ADMIN_KEY, CHAIN_KEY, SIMULATOR_KEY

if TYPE_CHECKING:
    from tests.tools.stack import Stack

_SECRETS = (ADMIN_KEY, CHAIN_KEY, SIMULATOR_KEY)
_GATEWAY_KEY = re.compile(r"tg_[a-z0-9-]+-[0-9a-f]{8}_[A-Za-z0-9_-]{20}")
_PROMPT_FIELDS = ("content", "text", "input", "prompt", "instructions", "arguments")
_MIN_PROMPT_CHARACTERS = 6


class Lines(logging.Handler):
    """Keeps all lines as the log shows them, with their attributes and tracebacks."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{self.format(record)} {vars(record)}")


@pytest.fixture(autouse=True)
def log_without_secrets(request: pytest.FixtureRequest) -> Iterator[Lines]:
    """Fail if a line of the log holds a key, or a text that a simulator was sent. The level is that of the worker."""
    names = [name for name in ("stack", "stack_on_tables") if name in request.fixturenames]
    stacks: list[Stack] = [request.getfixturevalue(name) for name in names]
    lines, root = Lines(), logging.getLogger()
    level = root.level
    root.addHandler(lines)
    root.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(lines)
    prompts = {text for stack in stacks for record in stack.simulator.records for text in prompts_of(record.body)}
    forbidden = [*_SECRETS, *prompts]
    found = [line for line in lines.lines if _GATEWAY_KEY.search(line) or any(each in line for each in forbidden)]
    assert not found, found[0]


def prompts_of(body: Any, field: str = "") -> Iterator[str]:
    """Yield the texts of a body that a caller wrote for the model."""
    match body:
        case str() if field in _PROMPT_FIELDS and len(body) >= _MIN_PROMPT_CHARACTERS:
            yield body
        case dict():
            for name, value in body.items():
                yield from prompts_of(value, name)
        case list():
            for value in body:
                yield from prompts_of(value, field)
