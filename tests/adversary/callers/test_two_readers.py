"""A caller cannot be judged by one reading of a body and served by another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.adapters.azure_openai.formats.bodies import read
from shared.domain.errors import InvalidRequest
from tests.tools.stack import API_VERSION, Stack

MESSAGES = '"messages":[{"role":"user","content":"Hi"}]'
CHAT = f"/openai/deployments/gpt-4o/chat/completions?api-version={API_VERSION}"
V1 = "/openai/v1/"


async def refusal(
    stack: Stack, path: str, body: bytes, content_type: str = "application/json"
) -> tuple[int, str | None]:
    """Send a body. Returns the status and the field that the error names."""
    headers = {"api-key": stack.key, "content-type": content_type}
    async with stack.session.post(f"{stack.url}{path}", data=body, headers=headers) as answer:
        return answer.status, (await answer.json())["error"]["param"]


@pytest.mark.parametrize(
    ("operation", "body", "param"),
    [
        ("chat/completions", f'{{"model":"gpt-4o-mini","model":"gpt-4o",{MESSAGES}}}', "model"),
        ("chat/completions", f'{{"mo\\u0064el":"gpt-4o-mini","model":"gpt-4o",{MESSAGES}}}', "model"),
        ("chat/completions", f'{{"model":"gpt-4o",{MESSAGES},"max_tokens":5,"max_tokens":50000}}', "max_tokens"),
        ("chat/completions", '{"model":"gpt-4o","messages":[{"role":"user","content":"a","content":"b"}]}', "content"),
        ("chat/completions", f'{{"model":"gpt-4o",{MESSAGES},"x":{{"y":[{{"z":1,"z":1}}]}}}}', "z"),
        ("chat/completions", f'{{"model":"gpt-4o",{MESSAGES},"a:b":1,"a\\u003ab":1,"c":"\\u003A"}}', "a:b"),
        ("chat/completions", f'{{"model":"gpt-4o",{MESSAGES},"":1,"":2}}', ""),
        ("chat/completions", f'{{"model":"gpt-4o",{MESSAGES},"{"x" * 999}":1,"{"x" * 999}":2}}', "x" * 64),
        ("responses", '{"model":"gpt-4o","input":"Hi","tools":[],"tools":[{"type":"web_search"}]}', "tools"),
        ("responses", '{"model":"gpt-4o","input":"Hi","conversation":null,"conversation":"c"}', "conversation"),
        ("embeddings", '{"model":"text-embedding-3-small","input":"a","input":["b","c"]}', "input"),
        ("chat/completions", f'{{"model":"gpt-4o",{MESSAGES},"Max_Tokens":50000}}', "max_tokens"),
        ("chat/completions", f'{{"model":"gpt-4o",{MESSAGES},"\\u017ftream":true}}', "stream"),
        ("responses", '{"model":"gpt-4o","input":"Hi","Conversation":"c"}', "conversation"),
    ],
)
async def test_a_member_that_readers_take_in_different_ways_is_refused(
    stack: Stack, operation: str, body: str, param: str
) -> None:
    assert await refusal(stack, V1 + operation, body.encode()) == (400, param)
    assert await stack.requests() == []


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("chat/completions", "max_tokens"),
        ("chat/completions", "max_completion_tokens"),
        ("chat/completions", "n"),
        ("chat/completions", "best_of"),
        ("completions", "max_tokens"),
        ("completions", "n"),
        ("completions", "best_of"),
        ("images/generations", "n"),
        ("images/generations", "partial_images"),
        ("responses", "max_output_tokens"),
    ],
)
@pytest.mark.parametrize(
    "number", ["1e5", "100.0", '"5"', "true", "-1", "1E2", "-5", "2147483648", "9e99", "[5]", "{}"]
)
async def test_a_number_that_is_no_integer_in_range_is_refused(
    stack: Stack, operation: str, name: str, number: str
) -> None:
    model = {"images/generations": "dall-e-3", "completions": "gpt-35-turbo-instruct"}.get(operation, "gpt-4o")
    body = f'{{"model":"{model}",{MESSAGES},"input":"x","prompt":"x","{name}":{number}}}'.replace(
        '"prompt":"x",' if operation == "responses" else "\0", ""
    )
    assert await refusal(stack, V1 + operation, body.encode()) == (400, name)
    assert await stack.requests() == []


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n", "stream", "stream_options", "user"])
async def test_null_means_that_a_field_was_left_out(stack: Stack, name: str) -> None:
    fields: dict[str, Any] = {name: None}
    assert (await stack.chat(**fields))[0] == 200


@pytest.mark.parametrize(
    ("operation", "name", "value"),
    [
        ("chat/completions", "stream", '"true"'),
        ("chat/completions", "stream", "1"),
        ("chat/completions", "stream_options", "[]"),
        ("chat/completions", "model", "7"),
        ("responses", "background", '"true"'),
        ("responses", "background", "1"),
        ("responses", "store", '"false"'),
        ("responses", "previous_response_id", '["resp_1"]'),
        ("images/generations", "size", '["1024x1792"]'),
        ("images/generations", "quality", "7"),
    ],
)
async def test_a_value_of_another_type_is_refused(stack: Stack, operation: str, name: str, value: str) -> None:
    path = f"/openai/deployments/gpt-4o/{operation}?api-version={API_VERSION}"
    path = V1 + operation if operation == "responses" else path
    fields = {"model": '"gpt-4o"', "input": '"x"', "stream": "true", name: value}
    if operation != "responses":
        fields = {"messages": '[{"role":"user"}]', "prompt": '"x"', "stream": "true", name: value}
    body = "{" + ",".join(f'"{key}":{text}' for key, text in fields.items()) + "}"
    assert await refusal(stack, path, body.encode()) == (400, name)
    assert await stack.requests() == []


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf{" + MESSAGES.encode() + b"}",
        ("{" + MESSAGES + "}").encode("utf-16"),
        ("{" + MESSAGES + "}").encode("utf-32-le"),
        b"\x0b{" + MESSAGES.encode() + b"}",
        b"\xc2\xa0{" + MESSAGES.encode() + b"}",
        b"{" + MESSAGES.encode() + b"}{}",
        b"{" + MESSAGES.encode() + b"}\x00",
        b"{" + MESSAGES.encode() + b",}",
        b"{" + MESSAGES.encode() + b'/**/,"a":1}',
        b"{" + MESSAGES.encode() + b',"a":NaN}',
        b"{" + MESSAGES.encode() + b',"a":1e999}',
        b"{" + MESSAGES.encode() + b',"a":01}',
        b"{" + MESSAGES.encode() + b',"a":"\x01"}',
        b"{" + MESSAGES.encode() + b',"a":"\\ud800"}',
        b"{" + MESSAGES.encode() + b',"a":"\xc0\xaf"}',
        b"{" + MESSAGES.encode() + b",'a':1}",
    ],
)
async def test_what_only_some_readers_accept_is_refused(stack: Stack, body: bytes) -> None:
    assert await refusal(stack, CHAT, body) == (400, None)
    assert await stack.requests() == []


async def test_the_backend_gets_what_was_read_and_nothing_else(stack: Stack) -> None:
    body = b'{"messages":[{"role":"user","content":"a\\u003ab: \\u0022"}], "x": {"a": 1, "A": 2, "b": {"a": 1}}}'
    headers = {"api-key": stack.key, "content-type": "application/json; charset=utf-16", "content-encoding": "identity"}
    url = f"{stack.url}{CHAT}&api-version=2030-01-01&Api-Version=2031-01-01"
    async with stack.session.post(url, data=body, headers=headers) as answer:
        assert answer.status == 200
    (seen,) = await stack.requests()
    assert seen["body"] == json.loads(body)
    assert seen["path"].endswith(f"?api-version={API_VERSION}")
    assert seen["headers"]["content-type"] == "application/json"


class Pairs(list[Any]):
    """An object, as pairs that may repeat a name."""


TEXTS = st.text(':a\\"u03\n', max_size=5)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(st.tuples(st.text(":ab\\u", max_size=2), inner), max_size=4).map(Pairs)
    ),
    max_leaves=12,
)


def written(value: Any, escape: bool) -> str:
    """Write JSON, with every character of a string as an escape where asked for."""
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{written(name, escape)} :{written(each, not escape)}" for name, each in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(each, escape) for each in value) + "]"
    if isinstance(value, str) and escape:
        return '"' + "".join(f"\\u{ord(each):04x}" for each in value) + '"'
    return json.dumps(value)


def repeats(value: Any) -> bool:
    """Tell whether any object repeats a name."""
    if isinstance(value, Pairs):
        names = [name for name, _ in value]
        return len(set(names)) < len(names) or any(repeats(each) for _, each in value)
    return isinstance(value, list) and any(map(repeats, value))


@given(value=JSON, escape=st.booleans())
@example(value=Pairs([("a:", 1), ("a:", Pairs([("\\u003a", 1)]))]), escape=False)
@example(value=Pairs([("\\", ":"), ("\\", "\\\\u003a")]), escape=False)
def test_a_body_is_refused_exactly_if_an_object_repeats_a_name(value: Any, escape: bool) -> None:
    body = written(Pairs([("x", value)]), escape).encode()
    try:
        assert read(body) == json.loads(body)
        was_refused = False
    except InvalidRequest:
        was_refused = True
    assert was_refused == repeats(value)


def test_a_repeated_name_is_refused_at_every_depth() -> None:
    for depth in range(900, 1_010):
        body = b'{"x":' + b"[" * depth + b'{"a":1,"a":2}' + b"]" * depth + b"}"
        with pytest.raises(InvalidRequest):
            read(body)
