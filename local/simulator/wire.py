"""Bodies and headers as recorded from Azure OpenAI."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from local.simulator.answers import Answer, Choice

SAFE = {category: {"filtered": False, "severity": "safe"} for category in ("hate", "self_harm", "sexual", "violence")}
CREATED = 1_715_367_049
"""Fixed, so that equal requests get equal answers."""
EVENTS = "text/event-stream; charset=utf-8"
BAD_PROMPT = {
    **SAFE,
    "violence": {"filtered": False, "severity": "medium"},
    "jailbreak": {"detected": True, "filtered": False},
}
BAD_COMPLETION = {**SAFE, "self_harm": {"filtered": False, "severity": "low"}}
PROTECTED = {"protected_material_text": {"detected": True, "filtered": False}}
DOCUMENTATION = "https://go.microsoft.com/fwlink/?linkid=2198766"


def region_title(region: str) -> str:
    """`swedencentral` as Azure writes it in `x-ms-region`."""
    for suffix in ("central", "north", "south", "east", "west", "us"):
        if region.endswith(suffix) and region != suffix:
            return f"{region[: -len(suffix)].title()} {suffix.title()}"
    return region.title()


def headers(region: str, deployment: str, remaining_tokens: int) -> dict[str, str]:
    """The headers of an answer."""
    request_id = str(uuid.uuid4())
    return {
        "apim-request-id": request_id,
        "x-request-id": str(uuid.uuid4()),
        "x-ms-region": region_title(region),
        "x-ms-rai-invoked": "true",
        "x-ms-deployment-name": deployment,
        "azureml-model-session": f"d{hashlib.sha256(region.encode()).hexdigest()[:12]}",
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": "999",
        "x-ratelimit-limit-tokens": "1000000",
        "x-ratelimit-remaining-tokens": str(remaining_tokens),
        "x-content-type-options": "nosniff",
        "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
    }


def error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


NOT_AUTHORIZED = error(
    "401",
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource.",
)
NOT_FOUND = error("404", "Resource not found")
DEPLOYMENT_NOT_FOUND = error(
    "DeploymentNotFound",
    "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, "
    "please wait a moment and try again.",
)


def response_not_found(response_id: str) -> dict[str, Any]:
    message = f"Response with id '{response_id}' not found."
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def busy(api_version: str, seconds: int) -> dict[str, Any]:
    return error(
        "429",
        f"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version {api_version} have exceeded "
        f"token rate limit of your current OpenAI S0 pricing tier. Please retry after {seconds} seconds.",
    )


def filtered_prompt() -> dict[str, Any]:
    verdicts = {**SAFE, "hate": {"filtered": True, "severity": "high"}}
    return {
        "error": {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management "
            "policy. Please modify your prompt and retry. To learn more about our content filtering policies please "
            f"read our documentation: {DOCUMENTATION}",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {**verdicts, "jailbreak": {"detected": False, "filtered": False}},
            },
        }
    }


class Conversation:
    """The identity that all parts of one answer share."""

    def __init__(self, number: int, model: str, version: str, service_tier: str | None = None) -> None:
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{hashlib.sha256(str(number).encode()).hexdigest()[:29]}",
            "created": CREATED,
            "model": f"{model}-{version}",
            "system_fingerprint": f"fp_{hashlib.sha256(model.encode()).hexdigest()[:10]}",
        }
        if service_tier:
            self._head["service_tier"] = "default" if service_tier == "auto" else service_tier

    def completion(self, answer: Answer, *, with_usage: bool) -> dict[str, Any]:
        """A buffered answer."""
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [_message(choice, index, _annotation(answer)) for index, choice in enumerate(answer.choices)],
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _prompt_verdicts(answer)}],
            **({"usage": answer.usage.document()} if with_usage else {}),
        }

    def chunks(self, answer: Answer, *, include_usage: bool) -> Iterator[tuple[bytes, int]]:
        """Each event of a stream, with the tokens of completion that it carries."""
        usage: dict[str, Any] = {"usage": None} if include_usage else {}
        verdicts = {} if answer.is_asynchronous else _annotation(answer)
        filters = {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _prompt_verdicts(answer)}]}
        yield self._event({"choices": [], **filters, **usage}), 0
        for index, choice in enumerate(answer.choices):
            yield self._event({"choices": [_delta(index, _opening(choice), {})], **usage}), 0
        longest = max(len(choice.tokens) for choice in answer.choices)
        for position in range(longest):
            for index, choice in enumerate(answer.choices):
                if position < len(choice.tokens):
                    piece = _piece(choice, choice.tokens[position])
                    yield self._event({"choices": [_delta(index, piece, verdicts)], **usage}), 1
            if answer.is_asynchronous and position == longest // 2:
                yield self._event({"choices": [_late_verdict(answer, position)], **usage}), 0
        for index, choice in enumerate(answer.choices):
            ending = _delta(index, {}, _verdict(choice), choice.finish_reason)
            yield self._event({"choices": [ending], **usage}), 0
        if include_usage:
            yield self._event({"choices": [], "usage": answer.usage.document()}), 0
        yield b"data: [DONE]\n\n", 0

    def _event(self, fields: Mapping[str, Any]) -> bytes:
        chunk = {**fields, **self._head, "object": "chat.completion.chunk"}
        return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def typed_event(fields: Mapping[str, Any], *, named: bool = True) -> bytes:
    """An event whose data names its type; of some operations the event does so too."""
    name = f"event: {fields['type']}\n" if named else ""
    return f"{name}data: {json.dumps(fields, separators=(',', ':'))}\n\n".encode()


def _verdict(choice: Choice) -> dict[str, Any]:
    if choice.finish_reason == "content_filter":
        return {**SAFE, "violence": {"filtered": True, "severity": "medium"}}
    return {}


def _prompt_verdicts(answer: Answer) -> dict[str, Any]:
    return BAD_PROMPT if answer.is_prompt_bad else SAFE


def _annotation(answer: Answer) -> dict[str, Any]:
    return {**BAD_COMPLETION, **PROTECTED} if answer.is_completion_bad else SAFE


def _late_verdict(answer: Answer, position: int) -> dict[str, Any]:
    """An annotation of the asynchronous filter: no delta, and which characters it is about."""
    offsets = {"check_offset": position, "start_offset": 0, "end_offset": position * 4}
    return {
        "content_filter_offsets": offsets,
        "content_filter_results": _annotation(answer),
        "finish_reason": None,
        "index": 0,
    }


def _message(choice: Choice, index: int, verdicts: Mapping[str, Any]) -> dict[str, Any]:
    text = "".join(choice.tokens)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    if choice.tool_name:
        message |= {"content": None, "tool_calls": [_call(choice.tool_name, text)]}
    return {
        "index": index,
        "message": message,
        "finish_reason": choice.finish_reason,
        "logprobs": None,
        "content_filter_results": {**verdicts, **_verdict(choice)},
    }


def _delta(
    index: int, delta: Mapping[str, Any], verdicts: Mapping[str, Any], finish_reason: str | None = None
) -> dict[str, Any]:
    return {
        "content_filter_results": verdicts,
        "delta": delta,
        "finish_reason": finish_reason,
        "index": index,
        "logprobs": None,
    }


def _opening(choice: Choice) -> dict[str, Any]:
    if choice.tool_name:
        call = {"index": 0, **_call(choice.tool_name, "")}
        return {"content": None, "refusal": None, "role": "assistant", "tool_calls": [call]}
    return {"content": "", "refusal": None, "role": "assistant"}


def _piece(choice: Choice, token: str) -> dict[str, Any]:
    if choice.tool_name:
        return {"tool_calls": [{"index": 0, "function": {"arguments": token}}]}
    return {"content": token}


def _call(name: str, arguments: str) -> dict[str, Any]:
    call_id = f"call_{hashlib.sha256(name.encode()).hexdigest()[:24]}"
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
