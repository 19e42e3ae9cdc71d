"""Start Azurite: with a data folder for `make run`, in memory for tests."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local.setup.node_packages import AZURITE_SERVER, find_node

ACCOUNT = "tallygate"


@dataclass(frozen=True, slots=True)
class AzuritePorts:
    blob: int
    queue: int
    table: int


def new_account_key() -> str:
    """A random storage account key: nothing on this machine has a fixed one."""
    return base64.b64encode(secrets.token_bytes(64)).decode()


def azurite_command(ports: AzuritePorts, folder: Path | None, *extra: str) -> list[str]:
    """The command line of an Azurite on loopback."""
    found = find_node()
    if found is None or not AZURITE_SERVER.exists():
        raise FileNotFoundError("Azurite is not installed. Run 'make setup'.")
    place = ["--inMemoryPersistence"] if folder is None else ["--location", str(folder)]
    listeners = [
        f"--{name}{option}"
        for name, port in (("blob", ports.blob), ("queue", ports.queue), ("table", ports.table))
        for option in ("Host=127.0.0.1", f"Port={port}")
    ]
    quiet = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    return [found[0], str(AZURITE_SERVER), *place, *_separated(listeners), *quiet, *extra]


def start_azurite(
    ports: AzuritePorts, account_key: str, folder: Path | None, log: Path, *extra: str, inherited: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start it with one account that has this key. The key goes by the environment, not by the command line.

    `inherited`: descriptors that stay open in Azurite.
    """
    environment = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{account_key}"}
    with log.open("ab") as output:
        return subprocess.Popen(
            azurite_command(ports, folder, *extra),
            env=environment,
            cwd=log.parent,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=inherited,
        )


def _separated(options: list[str]) -> list[str]:
    return [part for option in options for part in option.split("=", 1)]
