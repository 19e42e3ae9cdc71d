"""The server: authentication, api-versions, chat completions on both path families, records and faults.

Run it: `python -m local.simulator --port 8000`. Every region has its own path: `http://127.0.0.1:8000/swedencentral`.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from local.origins import is_foreign
from local.simulator import answers, lies, replies, wire
from local.simulator.faults import Fault, Faults
from local.simulator.records import Record, Records
from local.simulator.replies import Part, Question, Refused, Reply

MODEL_VERSIONS = {"gpt-4o": "2024-08-06", "gpt-4o-mini": "2024-07-18", "o4-mini": "2025-04-16"}
_API_VERSION = re.compile(r"20\d\d-[01]\d-[0-3]\d(-preview)?")
_V1_API_VERSIONS = ("", "preview", "latest", "v1")
MOST_KEPT = 5_000
"""Responses beyond this number make the oldest ones unknown, as Azure does after 30 days."""
_AUDIENCES = ("https://cognitiveservices.azure.com", "https://ai.azure.com")


@dataclass(slots=True)
class Pace:
    """The pace of answers."""

    latency_ms: float = 0
    tokens_per_second: float = 0

    async def head(self) -> None:
        if self.latency_ms:
            await asyncio.sleep(self.latency_ms / 1000)

    async def token(self) -> None:
        if self.tokens_per_second:
            await asyncio.sleep(1 / self.tokens_per_second)


@dataclass(slots=True)
class Kept:
    """A response that is kept: one that runs is in progress when first looked at, and done after that."""

    region: str
    document: dict[str, Any]
    usage: dict[str, Any]
    items: list[Any]
    record: Record
    states: list[str] = field(default_factory=list)

    def look(self) -> dict[str, Any]:
        if self.states:
            return {**self.document, "status": self.states.pop(0), "output": [], "usage": None}
        self.record.usage = self.usage
        return self.document

    def cancel(self) -> None:
        if self.states:
            self.states, self.usage = [], {**self.usage, "output_tokens": 0, "total_tokens": self.usage["input_tokens"]}
            self.document = {**self.document, "status": "cancelled", "output": [], "usage": self.usage}

    def parts(self) -> Iterator[Part]:
        self.states = []
        document = self.look()
        for number, kind in enumerate(("response.created", f"response.{document['status']}")):
            yield Part(wire.typed_event({"type": kind, "sequence_number": number, "response": document}), self.usage)


@dataclass(frozen=True, slots=True)
class Asked:
    """The operation, model and file of a request."""

    model: str
    body: dict[str, Any]
    sound: bytes


OPERATIONS: Mapping[str, Callable[[Question], Reply]] = {
    "chat/completions": replies.chat,
    "completions": replies.completions,
    "embeddings": replies.embeddings,
    "images/generations": replies.images,
    "audio/transcriptions": replies.transcription,
    "audio/translations": replies.transcription,
    "audio/speech": replies.speech,
    "responses": replies.responses,
}


@web.middleware
async def _refuse_foreign_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let no page of another site read what was asked, or arm a fault. These routes need no key."""
    if request.path.startswith("/_sim/") and is_foreign(request.host, request.headers.get("origin")):
        return web.Response(status=403)
    return await handler(request)


class Simulator:
    """Several regions of Azure OpenAI, each with the same deployments."""

    def __init__(self, regions: tuple[str, ...], deployments: Mapping[str, str], api_key: str, pace: Pace) -> None:
        self.regions = regions
        self.deployments = deployments
        self.api_key = api_key
        self.pace = pace
        self.faults = Faults()
        self.records = Records()
        self.cache = answers.PromptCache()
        self.kept: dict[str, Kept] = {}
        self.most_kept = MOST_KEPT
        self.never_streams = False
        self.spilled: dict[str, str] = {}
        """By the name of a deployment, that of the one which serves in its place."""
        self.served_tier: str | None = None
        """The service tier that answers state; `None` for the one that was asked for, empty for none."""
        self._numbers = itertools.count(1)
        self._answering: dict[int, web.Request] = {}

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024, middlewares=[_refuse_foreign_pages])
        app.router.add_get("/_sim/requests", self._list_requests)
        app.router.add_delete("/_sim/requests", self._forget_requests)
        app.router.add_post("/_sim/faults", self._arm)
        app.router.add_delete("/_sim/faults", self._disarm)
        app.router.add_post("/_sim/pace", self._set_pace)
        for prefix in ("", "/{region}"):
            app.router.add_get(f"{prefix}/openai/models", self._models)
            app.router.add_get(f"{prefix}/openai/v1/models", self._models)
            for operation in OPERATIONS:
                app.router.add_post(f"{prefix}/openai/deployments/{{deployment}}/{operation}", self._serve)
                app.router.add_post(f"{prefix}/openai/v1/{operation}", self._serve)
            app.router.add_post(f"{prefix}/openai/responses", self._serve)
            for family in ("", "/v1"):
                path = f"{prefix}/openai{family}/responses/{{response}}"
                app.router.add_get(path, self._kept_response)
                app.router.add_delete(path, self._kept_response)
                app.router.add_post(f"{path}/cancel", self._kept_response)
                app.router.add_get(f"{path}/input_items", self._kept_response)
        return app

    async def _kept_response(self, request: web.Request) -> web.StreamResponse:
        """A response that is kept in this region. One made in the background goes on whenever it is looked at."""
        record = self._record(request)
        refusal = self._refusal(request, record)
        if refusal is not None:
            return self._refuse(record, *refusal)
        fault = self.faults.take(record.region, "responses")
        if fault is not None and fault.kind != "lie":
            return await self._fail(request, record, fault)
        response_id = request.match_info["response"]
        kept = self.kept.get(response_id)
        if kept is None or kept.region != record.region:
            return self._refuse(record, 404, wire.response_not_found(response_id))
        record.status, record.outcome = 200, "completed"
        headers = wire.headers(record.region, record.deployment, 1_000_000)
        if request.method == "DELETE":
            del self.kept[response_id]
            return web.json_response({"id": response_id, "object": "response", "deleted": True}, headers=headers)
        if request.path.endswith("/input_items"):
            return web.json_response({"object": "list", "data": kept.items, "has_more": False}, headers=headers)
        if request.path.endswith("/cancel"):
            kept.cancel()
        if request.query.get("stream") == "true":
            return await self._stream_again(request, record, kept)
        return web.json_response({**kept.look(), **(fault.body if fault else {})}, headers=headers)

    async def _stream_again(self, request: web.Request, record: Record, kept: Kept) -> web.StreamResponse:
        self._answering[record.number] = request
        fault = self.faults.take(record.region, "responses/stream")
        try:
            return await self._stream(request, record, Reply({}, content_type=wire.EVENTS), kept.parts(), fault)
        except (ConnectionError, asyncio.CancelledError):
            record.outcome = "client_disconnected"
            raise
        finally:
            del self._answering[record.number]

    @property
    def transports(self) -> list[asyncio.Transport]:
        """The connections on which a request is being answered."""
        return [request.transport for request in self._answering.values() if request.transport is not None]

    async def _list_requests(self, _: web.Request) -> web.Response:
        return web.json_response([asdict(record) for record in self.records])

    async def _forget_requests(self, _: web.Request) -> web.Response:
        """Begin anew: the next answer has the ids of the first."""
        self.records.clear()
        self.kept.clear()
        self._numbers = itertools.count(1)
        return web.Response(status=204)

    async def _arm(self, request: web.Request) -> web.Response:
        try:
            self.faults.arm(Fault(**await request.json()))
        except (TypeError, ValueError) as error:
            return web.json_response(wire.error("invalid_fault", str(error)), status=400)
        return web.Response(status=204)

    async def _disarm(self, _: web.Request) -> web.Response:
        self.faults.clear()
        return web.Response(status=204)

    async def _set_pace(self, request: web.Request) -> web.Response:
        self.pace = Pace(**await request.json())
        return web.Response(status=204)

    async def _models(self, request: web.Request) -> web.Response:
        if not self._is_authorized(request):
            return web.json_response(wire.NOT_AUTHORIZED, status=401)
        models = [
            {"id": f"{model}-{MODEL_VERSIONS.get(model, '2025-01-01')}", "object": "model", "created": 1715367049,
             "owned_by": "system", "status": "succeeded"}
            for model in sorted(set(self.deployments.values()))
        ]  # fmt: skip
        return web.json_response({"data": models, "object": "list"})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        record = self._record(request)
        self._answering[record.number] = request
        try:
            return await self._answer(request, record)
        except (ConnectionError, asyncio.CancelledError):
            record.outcome = "client_disconnected"
            raise
        finally:
            del self._answering[record.number]

    def _record(self, request: web.Request) -> Record:
        region = request.match_info.get("region") or self.regions[0]
        record = Record(
            next(self._numbers),
            region,
            request.match_info.get("deployment", ""),
            request.raw_path,
            request.query.get("api-version", ""),
            stream=False,
            headers={
                name.lower(): value
                for name, value in request.headers.items()
                if name.lower() not in ("api-key", "authorization")
            },
        )
        self.records.add(record)
        return record

    async def _answer(self, request: web.Request, record: Record) -> web.StreamResponse:
        refusal = self._refusal(request, record)
        if refusal is not None:
            return self._refuse(record, *refusal)
        operation = _operation_of(request)
        try:
            body, sound, size = await _read(request)
            self.records.add_body(record, body, size)
            if self.never_streams:
                body = {**body, "stream": False}
            record.stream = body.get("stream") in (True, "true")
            record.deployment = record.deployment or body.get("model", "")
            record.spilled_to = self.spilled.get(record.deployment)
            own = self.deployments.get(record.deployment)
            model = self.deployments.get(record.spilled_to or "", own)
            problem = _problem_of(operation, body, model or "")
        except (ValueError, AttributeError, KeyError, TypeError, IndexError):
            return self._refuse(record, 400, wire.error("BadRequest", "The request body is not valid."))
        if model is None:
            return self._refuse(record, 404, wire.DEPLOYMENT_NOT_FOUND)
        if problem is not None:
            return self._refuse(record, 400, problem)
        fault = self.faults.take(record.region, record.deployment)
        if fault is not None and fault.kind in ("status", "refuse", "hang"):
            return await self._fail(request, record, fault)
        if fault is not None and fault.kind == "slow":
            with suppress(TimeoutError):
                async with asyncio.timeout(fault.delay_ms / 1000):
                    await self.faults.release()
            fault = None
        return await self._complete(request, record, operation, Asked(model, body, sound), fault)

    async def _complete(
        self, request: web.Request, record: Record, operation: str, asked: Asked, fault: Fault | None
    ) -> web.StreamResponse:
        try:
            reply = lies.told(self._reply(record, operation, asked, fault), fault)
        except Refused as refused:
            response = self._refuse(record, 400, refused.body)
            record.usage = refused.usage
            record.outcome = "content_filter" if refused.usage else record.outcome
            return response
        except (ValueError, KeyError, TypeError, AttributeError):
            return self._refuse(record, 400, wire.error("BadRequest", "The request body is not valid."))
        if reply.kept is not None and reply.kept["store"]:
            self._keep(record, reply, reply.kept)
        await self.pace.head()
        if reply.parts is not None:
            return await self._stream(request, record, reply, reply.parts, fault)
        return await self._buffer(request, record, reply, fault)

    def _keep(self, record: Record, reply: Reply, document: dict[str, Any]) -> None:
        given = record.body["input"]
        items = given if isinstance(given, list) else [{"type": "message", "role": "user", "content": given}]
        states = ["in_progress"] if document["background"] else []
        self.kept[document["id"]] = Kept(record.region, document, reply.usage, items, record, states)
        while len(self.kept) > self.most_kept:
            del self.kept[next(iter(self.kept))]

    def _reply(self, record: Record, operation: str, asked: Asked, fault: Fault | None) -> Reply:
        model, body, cached = asked.model, asked.body, 0
        if self.served_tier is not None:
            body = {**body, "service_tier": self.served_tier}
        if operation == "chat/completions":
            text, tokens = answers.prompt_text(body), answers.prompt_tokens(body)
            if answers.FILTERED_PROMPT_MARK in text:
                raise Refused(wire.filtered_prompt(), answers.Usage(tokens, 0).document())
            cached = self.cache.cached_tokens(record.region, record.deployment, text, tokens)
        previous, context = body.get("previous_response_id"), 0
        if operation == "responses" and previous is not None:
            before = self.kept.get(previous)
            if before is None or before.region != record.region:
                raise Refused(wire.error("previous_response_not_found", f"Response '{previous}' not found."))
            context = before.usage["total_tokens"]
        version = MODEL_VERSIONS.get(model, "2025-01-01")
        has_usage = fault is None or fault.kind != "no_usage"
        return OPERATIONS[operation](
            Question(body, model, version, record.number, cached, context, asked.sound, has_usage)
        )

    def _refusal(self, request: web.Request, record: Record) -> tuple[int, dict[str, Any]] | None:
        if not self._is_authorized(request):
            return 401, wire.NOT_AUTHORIZED
        if record.region not in self.regions:
            return 404, wire.NOT_FOUND
        is_dated = "/openai/v1/" not in request.path
        if is_dated and not _API_VERSION.fullmatch(record.api_version):
            return 404, wire.NOT_FOUND
        if not is_dated and record.api_version not in _V1_API_VERSIONS:
            return 400, wire.error("BadRequest", "API version not supported")
        return None

    def _is_authorized(self, request: web.Request) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return token == self.api_key or _audience(token) in _AUDIENCES
        return request.headers.get("api-key") == self.api_key

    def _refuse(self, record: Record, status: int, body: Any, headers: Mapping[str, str] | None = None) -> web.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        record.status, record.outcome, record.bytes_sent = status, "refused", len(content)
        return web.Response(
            body=content,
            status=status,
            content_type="application/json",
            headers={**_headers(record, 1_000_000), **(headers or {})},
        )

    async def _fail(self, request: web.Request, record: Record, fault: Fault) -> web.StreamResponse:
        if fault.kind == "status":
            body = fault.body
            if body is None and fault.status == 429:
                body = wire.busy(record.api_version, 7)
            elif body is None:
                body = wire.error(str(fault.status), "The server had an error while processing your request.")
            return self._refuse(record, fault.status, body, fault.headers)
        record.outcome = fault.kind
        if fault.kind == "hang":
            await self.faults.release()
        _abort(request)
        return web.Response()  # to nobody

    async def _buffer(
        self, request: web.Request, record: Record, reply: Reply, fault: Fault | None
    ) -> web.StreamResponse:
        kind, content = fault.kind if fault else "", reply.content
        record.usage = None if reply.kept is not None and reply.kept["background"] else reply.usage
        headers = _headers(record, _remaining(reply))
        headers["Content-Type"] = reply.content_type
        if kind in ("stall", "break"):
            return await self._interrupt(request, record, content, headers, kind)
        content = content[: len(content) // 2] if kind == "malformed" else content
        record.status, record.outcome, record.bytes_sent = 200, kind or "completed", len(content)
        return web.Response(body=content, headers=headers)

    async def _interrupt(
        self, request: web.Request, record: Record, content: bytes, headers: dict[str, str], kind: str
    ) -> web.StreamResponse:
        """Send half of a buffered answer, and the rest once faults are deleted, or never."""
        half = len(content) // 2
        response = web.StreamResponse(headers={**headers, "Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[:half])
        record.status, record.outcome, record.bytes_sent = 200, kind, half
        if kind == "break":
            _abort(request)
            return response
        await self.faults.release()
        await response.write(content[half:])
        record.bytes_sent = len(content)
        return response

    async def _stream(
        self, request: web.Request, record: Record, reply: Reply, parts: Iterator[Part], fault: Fault | None
    ) -> web.StreamResponse:
        kind = fault.kind if fault else ""
        headers = _headers(record, _remaining(reply))
        headers["Content-Type"] = reply.content_type
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        record.status = 200
        for number, part in enumerate(parts):
            if fault is not None and number == fault.after_chunks:
                if kind == "stall":
                    record.outcome = "stall"
                    await self.faults.release()
                elif kind == "break":
                    record.outcome = "break"
                    _abort(request)
                    return response
                elif kind == "end":
                    record.outcome = "end"
                    return response
                elif kind == "malformed":
                    await response.write(b"data: {not json\n\n")
            await response.write(part.content)
            record.bytes_sent += len(part.content)
            record.usage = part.usage
            if part.is_token:
                await self.pace.token()
        record.usage = reply.usage
        record.outcome = kind or "completed"
        await response.write_eof()
        return response


def _headers(record: Record, remaining_tokens: int) -> dict[str, str]:
    """The headers of an answer, also of one that another deployment has served."""
    headers = wire.headers(record.region, record.deployment, remaining_tokens)
    if record.spilled_to is not None:
        headers |= {"x-ms-spillover-from-deployment": record.deployment, "x-ms-deployment-name": record.spilled_to}
    return headers


def _operation_of(request: web.Request) -> str:
    path = request.path.partition("/openai/v1/")[2]
    if path or "deployment" not in request.match_info:
        return path or "responses"
    return request.path.partition("/openai/deployments/")[2].removeprefix(f"{request.match_info['deployment']}/")


async def _read(request: web.Request) -> tuple[dict[str, Any], bytes, int]:
    """The fields of a request, the file that came with them, and the size of the fields in bytes."""
    if not request.content_type.startswith("multipart/"):
        return await request.json(), b"", len(await request.read())
    fields = await request.post()
    file = fields.get("file")
    sound = file.file.read() if isinstance(file, web.FileField) else b""
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    return texts, sound, sum(map(len, texts.values()))


def _remaining(reply: Reply) -> int:
    return 1_000_000 - int(reply.usage.get("prompt_tokens") or reply.usage.get("input_tokens") or 0)


def _problem_of(operation: str, body: dict[str, Any], model: str) -> dict[str, Any] | None:
    """Return the reason why Azure would refuse a body."""
    if operation != "chat/completions":
        return None
    if not body["messages"] or not all(isinstance(message, dict) and "role" in message for message in body["messages"]):
        return wire.error("BadRequest", "Invalid 'messages': each needs a role.")
    for name in ("max_tokens", "max_completion_tokens", "n"):
        value = body.get(name)
        if value is not None and (not isinstance(value, int) or value < 1):
            return wire.error("BadRequest", f"Invalid '{name}': must be a positive integer.")
    if model.startswith(("o", "gpt-5")) and body.get("max_tokens") is not None:
        return wire.error(
            "unsupported_parameter",
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
        )
    return None


def _audience(token: str) -> str:
    """The audience of an access token, which a simulation does not verify further."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["aud"]).rstrip("/")
    except (IndexError, ValueError, KeyError):
        return ""


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
