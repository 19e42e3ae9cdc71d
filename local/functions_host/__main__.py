"""`python -m local.functions_host`: serve function_app.py on `TALLYGATE_PORT` until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import uvicorn

from local.functions_host.indexing import FunctionLoadError, index, load_app, route_prefix_of
from local.functions_host.server import FunctionsHost, load_local_settings
from local.functions_host.timers import Timers

ROOT = Path(__file__).resolve().parents[2]
SHUTDOWN_SECONDS = 15
KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep connections, so that none is closed under a request."""


async def _shut_down() -> None:
    from shared.composition.process import close_current_gateway

    with suppress(TimeoutError):
        async with asyncio.timeout(SHUTDOWN_SECONDS):
            await close_current_gateway()


def _listen(port: int) -> socket.socket:
    """A listener that names its protocol: asyncio turns Nagle's algorithm off only for sockets that do."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(2048)
    return listener


def main() -> int:
    os.umask(0o077)  # the state of timers and generated secrets are for their owner alone
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = ROOT / "local.settings.json"
    if settings.exists():
        for name, value in load_local_settings(settings.read_text()).items():
            os.environ.setdefault(name, value)
    port = int(os.environ.get("TALLYGATE_PORT", "7071"))
    data = Path(os.environ.get("TALLYGATE_DATA", ".local"))
    try:
        http, timer_functions = index(load_app("function_app"), route_prefix_of(ROOT / "host.json"))
    except FunctionLoadError as error:
        print(f"The functions host cannot start: {error}", file=sys.stderr)
        return 2
    try:
        listener = _listen(port)
    except OSError:
        print(f"Port {port} is taken. Choose another with TALLYGATE_PORT.", file=sys.stderr)
        return 2
    host = FunctionsHost(http, Timers(timer_functions, data / "timers"), os.environ.get("HOST_KEY", ""), _shut_down)
    config = uvicorn.Config(
        host,
        http="httptools",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
