"""Run the commands of a step with their output in a log file, and print one line a step."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"
LOGS = TOOLS / "log"
_SHOWN_LINES = 15

Command = Sequence[str | Path]


class StepFailed(Exception):
    """Tells the user which step failed and why."""


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print the title and the seconds that the block took, once it has succeeded."""
    began = time.monotonic()
    yield
    print(f"  {title:<60}{time.monotonic() - began:6.1f} s", flush=True)


def run(name: str, command: Command, cwd: Path = ROOT, environment: Mapping[str, str] | None = None) -> None:
    """Run a command; its output goes to `.tools/log/NAME.log`. Raises `StepFailed` with the end of that log.

    `environment` is set beside that of this process.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    try:
        with log.open("ab") as output:
            output.write(f"\n$ {' '.join(map(str, command))}\n".encode())
            output.flush()
            variables = {**os.environ, **(environment or {})}
            subprocess.run(
                command, cwd=cwd, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True
            )
    except OSError as error:
        raise StepFailed(f"{command[0]} could not be run: {error}") from None
    except subprocess.CalledProcessError as error:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:])
        raise StepFailed(
            f"{end}\n\nThe step failed with exit status {error.returncode}. All of its output: {log}"
        ) from None
