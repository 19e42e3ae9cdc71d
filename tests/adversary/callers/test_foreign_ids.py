"""Tenants share an Azure resource, so nothing that is stored there is reached by an id, and nothing bills unseen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.adversary.prices import insert
from tests.tools.stack import Stack

REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}


async def refused(stack: Stack, operation: str, body: dict[str, Any], param: str) -> None:
    status, _, answer = await stack.infer(operation, "gpt-4o", body, dated=False)
    assert (status, f'"param":"{param}"'.encode() in answer) == (400, True), answer
    assert await stack.requests() == []
    assert await stack.entries() == []


@pytest.mark.parametrize(
    "item",
    [
        {"id": "msg_1"},
        {"id": "msg_1", "type": None},
        {"id": "msg_1", "type": "item_reference"},
        {"id": "msg_1", "Type": "message"},
        {"id": "msg_1", "role": "user", "content": "x"},
        {"id": "ig_1", "type": "image_generation_call"},
        {"id": "ci_1", "type": "code_interpreter_call", "container_id": "cntr_1", "code": None},
        {"id": "x", "type": "file_search_call", "queries": []},
        {"id": "x", "type": "mcp_approval_response", "approve": True},
        {"id": "x", "type": ["message"]},
        REASONING,
        {**REASONING, "encrypted_content": None},
        {**REASONING, "content": [{"type": "reasoning_text", "text": "x"}]},
        {"type": "compaction", "id": "cmp_1"},
        {"type": "message", "id": "msg_1", "role": "assistant"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": None},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1"},
        {"type": "computer_call_output", "id": "cco_1"},
        {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]},
        {"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]},
        {"role": "user", "content": {"type": "input_image", "file_id": "file-1"}},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file", "file_id": "file-1"}]},
        {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "file_id": "f"}},
        {"role": "user", "content": [{"type": "new_kind", "source": {"file_id": "file-1"}}]},
        {"role": "user", "content": [{"type": "container_file", "container_id": "cntr_1"}]},
        {"type": "shell_call", "call_id": "c", "environment": {"type": "container_reference", "container_id": "c"}},
    ],
)
async def test_an_item_that_refers_to_something_stored_is_refused(stack: Stack, item: Any) -> None:
    await refused(stack, "responses", {"input": ["Hi", item]}, "input")


@pytest.mark.parametrize(
    "tools",
    [
        {},
        {"type": "web_search"},
        "web_search",
        [None],
        ["web_search"],
        [{}],
        [{"Type": "function"}],
        [{"type": ["function"]}],
        [{"type": "file_search", "vector_store_ids": ["vs_1"]}],
        [{"type": "web_search"}],
        [{"type": "web_search_preview"}],
        [{"type": "code_interpreter", "container": {"type": "auto"}}],
        [{"type": "image_generation"}],
        [{"type": "mcp", "server_url": "https://x.invalid"}],
        [{"type": "tool_search"}],
        [{"type": "shell", "environment": {"type": "container_auto"}}],
        [{"type": "shell", "environment": {"type": "container_reference", "container_id": "cntr_1"}}],
        [{"type": "shell", "environment": "container"}],
        [{"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]}],
        [{"type": "namespace", "name": "n", "tools": {"type": "web_search"}}],
    ],
)
async def test_tools_that_azure_runs_are_refused(stack: Stack, tools: Any) -> None:
    await refused(stack, "responses", {"input": "Hi", "tools": tools}, "tools")


@pytest.mark.parametrize("tools", [{"type": "function"}, [{"type": "web_search"}], [{"type": "mcp"}], [{}], 7])
async def test_a_chat_has_only_tools_of_the_caller(stack: Stack, tools: Any) -> None:
    await refused(stack, "chat/completions", {"messages": [{"role": "user"}], "tools": tools}, "tools")


async def test_tools_inside_an_item_are_tools(stack: Stack) -> None:
    item = {"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]}
    await refused(stack, "responses", {"input": [item]}, "tools")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"prompt": {"id": "pmpt_1", "variables": {}}, "input": "Hi"}, "prompt"),
        ({"input": "Hi", "conversation": "conv_1"}, "conversation"),
        ({"input": "Hi", "conversation": {"id": "conv_1"}}, "conversation"),
        (
            {"input": "Hi", "prompt_cache_options": {"comparison_response_id": "resp_1"}},
            "prompt_cache_options.comparison_response_id",
        ),
    ],
)
async def test_a_response_names_nothing_that_is_stored(stack: Stack, fields: dict[str, Any], param: str) -> None:
    await refused(stack, "responses", fields, param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"data_sources": [{"type": "azure_search"}]}, "data_sources"),
        ({"dataSources": [{"type": "AzureCognitiveSearch"}]}, "dataSources"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"enhancements": {"ocr": {"enabled": True}}}, "enhancements"),
        ({"audio": {"format": "wav", "voice": {"id": "voice_1"}}}, "audio"),
        (
            {"prompt_cache_options": {"comparison_response_id": "resp_1"}},
            "prompt_cache_options.comparison_response_id",
        ),
        ({"messages": [{"content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "messages"),
        ({"messages": [{"content": [{"type": "image_file", "image_file": {"file_id": "f"}}]}]}, "messages"),
        ({"messages": [{"content": [{"type": "x", "file_ids": ["f"]}]}]}, "messages"),
        ({"messages": [{"content": [{"file_id": "f"}]}]}, "messages"),
        ({"messages": [{"content": {"type": "file", "file": {"file_id": "f"}}}]}, "messages"),
        ({"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, "messages"),
    ],
)
async def test_a_chat_names_nothing_that_is_stored(stack: Stack, fields: dict[str, Any], param: str) -> None:
    await refused(stack, "chat/completions", {"messages": [{"role": "user", "content": "Hi"}], **fields}, param)


async def test_speech_has_a_built_in_voice(stack: Stack) -> None:
    await refused(stack, "audio/speech", {"input": "Hi", "voice": {"id": "voice_1"}}, "voice")


async def test_what_runs_at_the_caller_passes(stack: Stack) -> None:
    tools = [
        {"type": "function", "name": "f", "parameters": {"properties": {"file_id": {"type": "string"}}}},
        {"type": "custom", "name": "c"},
        {"type": "local_shell"},
        {"type": "shell"},
        {"type": "shell", "environment": {"type": "local"}},
        {"type": "apply_patch"},
        {"type": "computer"},
        {"type": "computer_use_preview", "environment": "browser"},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]},
    ]
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "Ho"}]},
        {**REASONING, "encrypted_content": "gAAAA"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "x"}]},
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA"},
        {"role": "user", "content": ""},
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": '{"file_id": "x"}'},
        {"type": "function_call_output", "call_id": "c", "output": "42"},
        {"type": "computer_call_output", "call_id": "d", "output": {"type": "computer_screenshot", "image_url": "x"}},
        {"type": "additional_tools", "role": "developer", "tools": tools[:1]},
    ]
    body = {"input": items, "tools": tools, "prompt": None, "conversation": None}
    status, _, answer = await stack.infer("responses", "gpt-4o", body, dated=False)
    assert status == 200, answer
    chat: dict[str, Any] = {"tools": [{"type": "function", "function": {"name": "f"}}], "web_search_options": None}
    await insert(stack, {"audio_output": "40.00"})
    assert (await stack.chat(**chat, audio={"voice": "alloy"}))[0] == 200
