"""TLS for emulators on this machine, with an authority that the gateway's clients trust."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import aiohttp.connector
import trustme
from aiohttp import web


@cache
def _authority() -> trustme.CA:
    """Make an authority, and let aiohttp trust it: the default context of aiohttp is made when it is imported."""
    authority = trustme.CA()
    authority.configure_trust(aiohttp.connector._SSL_CONTEXT_VERIFIED)
    return authority


def server_context(host: str = "127.0.0.1") -> ssl.SSLContext:
    """Return the context of a server with a trusted certificate for this host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert(host).configure_cert(context)
    return context


@asynccontextmanager
async def serving(
    application: web.Application, port: int, context: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Serve an application on this machine; with a context over TLS."""
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    try:
        yield
    finally:
        await runner.cleanup()
