"""Serve function_app.py through Microsoft's Python worker library, as the Functions host drives it.

Run it by the conformance environment's Python 3.13: `python -m tests.tools.worker_host PORT [APP]`. `APP` is the folder
of the app, by default this checkout; its own packages go before those of the environment. The library's message
classes are generated from gRPC definitions that are not on PyPI. Plain objects replace them, because the library only
reads and writes their attributes. Like the Functions host, this module matches routes itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from yarl import URL

from local.functions_host.indexing import HttpFunction
from local.functions_host.routing import Router, is_permitted

ROOT = Path(__file__).resolve().parents[2]
OPEN_INVOCATIONS = "/admin/open-invocations"
"""Answers the number of invocations that have not ended, or of which the worker keeps something. The Functions host
has no such path."""
REACHED_INVOCATIONS = "/admin/reached-invocations"
"""Answers the number of invocations whose request the worker has got, and has not answered."""
RAW_HEADER = "x-raw"
"""A header whose value is decoded from percent signs, and sent to the worker as `user-agent`. The server of this
module refuses control characters, which the Functions host passes."""
HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer")


class Message(SimpleNamespace):
    """Replaces a protobuf message, as far as the worker library uses it."""

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - protobuf's name
        return next(iter(vars(self)), None)


class Protos:
    """Replaces the generated module: any message class, and the two enumerations that the library uses."""

    class StatusResult(Message):
        Failure, Success = 0, 1

    class BindingInfo(Message):
        # the values of azure-functions' BindingDirection and DataType, with which the library compares these
        out, inout = 1, 2
        undefined = None

    def __getattr__(self, name: str) -> type[Message]:
        return type(name, (Message,), {})


class WorkerHost:
    """The host: asks the worker for its functions, routes requests and invokes functions."""

    def __init__(self, app: Path) -> None:
        self._app = app
        self._protos = Protos()
        self._ids: dict[str, str] = {}
        self._timers: dict[str, str] = {}
        self._parameters: dict[str, str] = {}
        self._invocations: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        from azure_functions_runtime import functions_metadata_request, worker_init_request

        answer = await worker_init_request(
            self._message("worker_init_request", capabilities={}, function_app_directory=str(self._app))
        )
        if answer.result.status != Protos.StatusResult.Success:
            raise SystemExit(f"the worker refused the app: {answer.result.exception.message}")
        self._worker_url = answer.capabilities["HttpUri"]
        self._session = aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout())
        metadata = await functions_metadata_request(None)
        http = [self._index(function) for function in metadata.function_metadata_results]
        functions = sorted((each for each in http if each), key=lambda function: function.name.lower())
        self._router = Router(functions)

    def _index(self, function: Any) -> HttpFunction | None:
        trigger = next(binding for raw in function.raw_bindings if "Trigger" in (binding := json.loads(raw))["type"])
        self._ids[function.name] = function.function_id
        self._parameters[function.name] = trigger["name"]
        if trigger["type"] == "timerTrigger":
            self._timers[function.name] = trigger["schedule"]
            return None
        methods = frozenset(trigger.get("methods") or ())
        return HttpFunction(function.name, trigger["route"], methods, "anonymous", print, trigger["name"])

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Send one request to the worker's own HTTP server, and invoke the function at the same time."""
        if request.path == OPEN_INVOCATIONS:
            return web.json_response(len(self._invocations) + len(_kept_by_the_worker()))
        if request.path == REACHED_INVOCATIONS:
            kept = _kept_by_the_worker()
            return web.json_response(sum(each.http_request_available_event.is_set() for each in kept))
        if request.path.startswith("/admin/functions/"):
            if not is_permitted(os.environ.get("HOST_KEY", ""), request.headers.get("x-functions-key", "")):
                return web.Response(status=401)
            return await self._start_timer(request.path.rpartition("/")[2])
        found = self._router.match(request.method, request.raw_path.partition("?")[0].encode())
        if found is None:
            return web.Response(status=404)
        function, params = found
        invocation_id = str(uuid.uuid4())
        data = Message(http=Message(
            method=request.method, url=str(request.url), headers={}, params=params, query={}, body=Message(bytes=b"")
        ))  # fmt: skip
        self._invoke(function.name, invocation_id, data)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        if RAW_HEADER in request.headers:
            return await self._send_raw(request, invocation_id)
        body = request.content if request.can_read_body else None
        async with self._session.request(
            request.method, self._worker_url + request.raw_path, data=body,
            headers={**headers, "x-ms-invocation-id": invocation_id}, allow_redirects=False,
        ) as answer:  # fmt: skip
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
            response = web.StreamResponse(status=answer.status)
            response.headers.extend(kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    async def _send_raw(self, request: web.Request, invocation_id: str) -> web.Response:
        """Send a request without a body, with a header that no client library sends. Returns its status only."""
        url = URL(self._worker_url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        fields = {"host": "x", "connection": "close", "x-ms-invocation-id": invocation_id}
        fields |= {"api-key": request.headers.get("api-key", ""), "user-agent": unquote(request.headers[RAW_HEADER])}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"{request.method} {request.raw_path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
        answer = await reader.read()
        writer.close()
        return web.Response(status=int(answer.split()[1]))

    async def _start_timer(self, name: str) -> web.Response:
        if name not in self._timers:
            return web.Response(status=404)
        result = await self._invoke(name, str(uuid.uuid4()), Message(json='{"IsPastDue": false}'))
        return web.Response(status=202 if result.result.status == Protos.StatusResult.Success else 500)

    def _invoke(self, name: str, invocation_id: str, data: Message) -> asyncio.Task[Any]:
        from azure_functions_runtime import invocation_request

        binding = SimpleNamespace(name=self._parameters[name], data=data, WhichOneof=lambda _: "data")
        context = SimpleNamespace(trace_parent="", trace_state="", attributes={})
        retry = SimpleNamespace(retry_count=0, max_retry_count=0, exception=None)
        message = self._message(
            "invocation_request", invocation_id=invocation_id, function_id=self._ids[name], input_data=[binding],
            trigger_metadata={}, trace_context=context, retry_context=retry,
        )  # fmt: skip
        task: asyncio.Task[Any] = asyncio.ensure_future(invocation_request(message))
        self._invocations.add(task)
        task.add_done_callback(self._invocations.discard)
        return task

    def _message(self, kind: str, **fields: Any) -> Any:
        request = SimpleNamespace(**{kind: SimpleNamespace(**fields)})
        return SimpleNamespace(request=request, properties={"host": "127.0.0.1", "protos": self._protos})


def _kept_by_the_worker() -> list[Any]:
    from azure_functions_runtime.http_v2 import http_coordinator

    return list(http_coordinator._context_references.values())


async def main() -> None:
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT
    sys.path[:0] = [str(folder), str(folder / ".python_packages" / "lib" / "site-packages")]
    os.chdir(folder)
    # as the worker does: it sends every line from INFO on to the host
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    host = WorkerHost(folder)
    await host.start()
    app = web.Application(client_max_size=104_857_600)
    app.router.add_route("*", "/{path:.*}", host.handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
