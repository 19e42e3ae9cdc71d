"""A process that has answered nothing yet has neither imported an exporter nor asked a monitor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.tools.stack import CHAIN_KEY

BUILD = """
import asyncio, os, sys
from shared.composition.gateway import build
from shared.settings import read_settings

gateway = asyncio.run(build(read_settings()))
assert gateway.telemetry.is_exported
imported = {each.split(".")[0] for each in sys.modules} & {"opentelemetry", "requests"}
print(imported or "nothing", flush=True)
os._exit(0)  # an orderly end would connect, to export what is left
"""


def test_nothing_is_imported_before_the_first_answer() -> None:
    environment = {
        "TALLYGATE_STORAGE": "memory",
        "AUDIT_CHAIN_KEY": CHAIN_KEY,
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    }
    command = [sys.executable, "-c", BUILD]
    folder = Path(__file__).parents[3]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == "nothing\n"
