"""A fast upstream: the same completion for every request, buffered or as a stream of `max_tokens` events.

Events come in a heap, or one after the other where the request's metadata name a pace. Paced streams are not in step,
whoever asks for them: events of several streams that come together cost a proxy less.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import sys
from typing import Any

import uvicorn

EVENTS = 100
_numbers = itertools.count()
_USAGE = {"prompt_tokens": 20, "completion_tokens": EVENTS, "total_tokens": 20 + EVENTS}
_HEAD = {"id": "chatcmpl-bench", "created": 1, "model": "gpt-4o-2024-08-06", "system_fingerprint": "fp_bench"}
_SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_MESSAGE = {"role": "assistant", "content": "word " * 100}
COMPLETION = json.dumps(
    {**_HEAD, "object": "chat.completion", "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop",
                                                        "content_filter_results": _SAFE}], "usage": _USAGE}
).encode()  # fmt: skip


def _event(fields: dict[str, Any]) -> bytes:
    document = {**fields, **_HEAD, "object": "chat.completion.chunk"}
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


_DELTA = {"content_filter_results": _SAFE, "delta": {"content": " word"}, "finish_reason": None, "index": 0}
_FIRST = _event({"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}]})
_WORD = _event({"choices": [_DELTA], "usage": None})
_LAST = [_event({"choices": [], "usage": _USAGE}), b"data: [DONE]\n\n"]
_EVENTS_WANTED = re.compile(rb'"max_tokens":(\d+)')
_PACE_WANTED = re.compile(rb'"pace_ms":"(\d+)"')


EMBEDDINGS = json.dumps(
    {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": "AAAA" * 512}], "model": "bench",
     "usage": {"prompt_tokens": 32, "total_tokens": 32}}
).encode()  # fmt: skip
RESPONSE = json.dumps(
    {"id": "resp_%s", "object": "response", "status": "completed", "model": "gpt-4o", "error": None,
     "output": [{"id": "msg_bench", "type": "message", "role": "assistant", "status": "completed",
                 "content": [{"type": "output_text", "text": "word " * 100, "annotations": []}]}],
     "usage": {"input_tokens": 20, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": EVENTS,
               "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 20 + EVENTS}}
).encode()  # fmt: skip


def _new_id() -> bytes:
    return b"%024x" % next(_numbers)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers every POST."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if b'"stream":true' in body:
        await _send_head(send, b"text/event-stream")
        wanted, pace = _EVENTS_WANTED.search(body), _PACE_WANTED.search(body)
        seconds = int(pace[1]) / 1000 if pace else 0.0
        await asyncio.sleep(seconds * random.random())
        for event in [_FIRST, *[_WORD] * int(wanted[1] if wanted else EVENTS), *_LAST]:
            await send({"type": "http.response.body", "body": event, "more_body": True})
            if seconds:
                await asyncio.sleep(seconds)
        await send({"type": "http.response.body", "body": b""})
    else:
        answer = COMPLETION
        if not scope["path"].endswith("completions"):
            answer = EMBEDDINGS if scope["path"].endswith("embeddings") else RESPONSE.replace(b"%s", _new_id(), 1)
        await _send_head(send, b"application/json", len(answer))
        await send({"type": "http.response.body", "body": answer})


async def _send_head(send: Any, content_type: bytes, length: int | None = None) -> None:
    headers = [(b"content-type", content_type)]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        http="httptools",
        access_log=False,
        log_level="warning",
        lifespan="off",
        timeout_keep_alive=600,
    )
