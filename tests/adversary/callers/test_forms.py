"""A form that two readers could take in different ways is refused."""

from __future__ import annotations

from email import message_from_bytes
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.adapters.azure_openai.formats.multipart import parts_of
from shared.domain.errors import InvalidRequest
from tests.adversary.callers.test_two_readers import V1, refusal
from tests.tools.sounds import wav
from tests.tools.stack import Stack

FORM = "multipart/form-data; boundary=b"
MODEL = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + wav(1) + b"\r\n"
END = b"--b--\r\n"


def part(head: bytes, content: bytes = b"x") -> bytes:
    return b"--b\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def field(name: str, content: bytes = b"x") -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"'.encode(), content)


@pytest.mark.parametrize(
    "body",
    [
        part(b'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="model"'),
        part(b'Content-Disposition: form-data; name="a"\r\nCONTENT-DISPOSITION: form-data; name="model"'),
        part(b"Content-Disposition: form-data; name=\"a\"; name*=utf-8''model"),
        part(b"Content-Disposition: form-data; name*=utf-8''model"),
        part(b'Content-Disposition: form-data; name="a"; name="model"'),
        part(b'Content-Disposition: form-data; name="a\\"; name=\\"model"'),
        part(b'Content-Disposition: form-data; name="mod\\el"'),
        part(b'Content-Disposition: form-data; name="mod%65l"'),
        part(b'Content-Disposition: form-data; name=""'),
        part(b'Content-Disposition: form-data;\r\n name="model"'),
        part(b'Content-Disposition : form-data; name="model"'),
        part(b'Content-Disposition: attachment; name="model"'),
        part(b'Content-Disposition: form-data; name="a"\nContent-Disposition: form-data; name="model"'),
        part(b'Content-Disposition: form-data; name="a"\rX: y'),
        part(b'Content-Disposition: form-data; name="a\x00"'),
        part(b'Content-Disposition: form-data; name="\xff"'),
        part(b'Content-Disposition: form-data; name="a"\r\nX-Other: y'),
        part(b'Content-Disposition: form-data; name="a"\r\nContent-Length: 9'),
        part(b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64'),
        part(b'Content-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=utf-16'),
        part(b'Content-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=iso-8859-1', "é".encode()),
        part(b'Content-Disposition: form-data; name="a"\r\nContent-Type: multipart/mixed; boundary=c'),
        part(b"Content-Type: text/plain"),
        field("a", b"\xff"),
        field("a", b"x\r\n--bX\r\nx"),
        field("a", b"x\n--b\ny"),
        field("a", b"x--b"),
        field("a", b"x\r\n--b\r\n"),
        field("a").replace(b"\r\n", b"\n"),
        b"--b \r\n" + field("a")[5:],
        b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n--b\r\n",
    ],
)
async def test_a_part_that_readers_take_in_different_ways_is_refused(stack: Stack, body: bytes) -> None:
    status, _ = await refusal(stack, f"{V1}audio/transcriptions", MODEL + body + FILE + END, FORM)
    assert status == 400
    assert await stack.requests() == []


@pytest.mark.parametrize(
    "body",
    [
        b"preamble\r\n" + MODEL + FILE + END,
        b"\r\n" + MODEL + FILE + END,
        MODEL + FILE + END + b"epilogue",
        MODEL + FILE + END + MODEL.replace(b"whisper", b"gpt-4o-transcribe") + END,
        MODEL + FILE + b"--b-\r\n",
        MODEL + FILE,
        MODEL + FILE[:-2],
    ],
)
async def test_text_around_the_parts_is_refused(stack: Stack, body: bytes) -> None:
    status, _ = await refusal(stack, f"{V1}audio/transcriptions", body, FORM)
    assert status == 400
    assert await stack.requests() == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (MODEL, "model"),
        (FILE, "file"),
        (field("stream", b"true") + field("stream", b"false"), "stream"),
        (field("prompt") + field("prompt"), "prompt"),
        (field("response_format", b"json") + field("response_format", b"text"), "response_format"),
        (field("Model"), "model"),
        (field("model[]"), "model"),
        (field("Stream", b"true"), "stream"),
        (field("\u017ftream", b"true"), "stream"),
        (field("stream", b"True"), "stream"),
        (field("stream", b"1"), "stream"),
        (field("_charset_", b"utf-16"), "_charset_"),
        (part(b'Content-Disposition: form-data; name="prompt"; filename="p.txt"'), "prompt"),
    ],
)
async def test_a_field_that_readers_take_in_different_ways_is_refused(stack: Stack, body: bytes, param: str) -> None:
    sent = body + MODEL + FILE + END
    assert await refusal(stack, f"{V1}audio/transcriptions", sent, FORM) == (400, param)
    assert await stack.requests() == []


async def test_a_file_without_a_name_is_refused(stack: Stack) -> None:
    sent = MODEL + field("file") + END
    assert await refusal(stack, f"{V1}audio/transcriptions", sent, FORM) == (400, "file")


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=b; boundary=c",
        'multipart/form-data; boundary=b; boundary="c"',
        "multipart/form-data; boundary*=utf-8''b",
        "multipart/form-data; boundary*0=b",
        "multipart/form-data; boundary=b, multipart/form-data; boundary=c",
        "multipart/form-data; boundary=b (comment)",
        "multipart/form-data; boundary=b c",
        "multipart/form-data; charset=utf-16; boundary=b",
        "multipart/mixed; boundary=b",
        "multipart/form-data; boundary=--",
        'multipart/form-data; boundary="b "',
    ],
)
async def test_a_boundary_that_is_not_stated_plainly_is_refused(stack: Stack, content_type: str) -> None:
    sent = MODEL + FILE + END
    assert await refusal(stack, f"{V1}audio/transcriptions", sent, content_type) == (400, "Content-Type")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, MODEL + FILE + b"--b--"),
        ('multipart/form-data; boundary="b"', MODEL + FILE + END),
        ("Multipart/Form-Data; charset=utf-8; boundary=b", MODEL + FILE + END),
        # .NET: names without quotes, and the file's name twice.
        (
            FORM,
            part(b"Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model", b"whisper")
            + part(b"Content-Disposition: form-data; name=file; filename=a.wav; filename*=utf-8''a.wav", wav(1))
            + END,
        ),
        # Apache's client for Java: a charset that makes no difference.
        (
            FORM,
            part(
                b'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=ISO-8859-1\r\n'
                b"Content-Transfer-Encoding: 8bit",
                b"whisper",
            )
            + FILE
            + END,
        ),
        # OkHttp: the length of each part.
        (
            FORM,
            part(b'Content-Disposition: form-data; name="model"\r\nContent-Length: 7', b"whisper")
            + part(
                b'Content-Disposition: form-data; name="file"; filename="caf\xc3\xa9 %22.wav"\r\n'
                b"Content-Transfer-Encoding: binary\r\nContent-Type: audio/wav",
                wav(1),
            )
            + field("timestamp_granularities[]", b"word") * 2
            + field("language", b"")
            + END,
        ),
    ],
)
async def test_forms_of_usual_clients_pass(stack: Stack, content_type: str, body: bytes) -> None:
    headers = {"api-key": stack.key, "content-type": content_type}
    async with stack.session.post(f"{stack.url}{V1}audio/transcriptions", data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
    (seen,) = await stack.requests()
    assert seen["headers"]["content-type"] == content_type
    assert seen["body"]["model"] == "whisper"


PIECES = [b"--b", b"--b--", b"\r\n", b"\n", b"\r", b'"', b";", b"\\", b"%", b" ", b"x", b": ", b'name="model"', b"\xff"]
WHOLE = field("model", b"whisper") + part(b'Content-Disposition: form-data; name="file"; filename="a.wav"') + END


@given(place=st.integers(0, len(WHOLE)), cut=st.integers(0, 12), pieces=st.lists(st.sampled_from(PIECES), max_size=3))
@example(place=0, cut=0, pieces=[])
def test_an_accepted_form_is_read_alike_by_other_readers(place: int, cut: int, pieces: list[bytes]) -> None:
    body = WHOLE[:place] + b"".join(pieces) + WHOLE[place + cut :]
    try:
        ours = [(part.name, body[part.start : part.end]) for part in parts_of(body, FORM)]
    except InvalidRequest:
        return
    message = message_from_bytes(b"Content-Type: " + FORM.encode() + b"\r\n\r\n" + body)
    others: Any = message.get_payload()
    read = [(each.get_param("name", header="content-disposition"), each.get_payload(decode=True)) for each in others]
    assert read == ours
