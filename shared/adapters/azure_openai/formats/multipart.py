"""Bodies of several parts, as far as a gateway must look into them (RFC 7578). Parts keep their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from typing import Final

from shared.domain.errors import InvalidRequest
from shared.domain.values import record

_MAX_PARTS: Final = 64
_MAX_HEAD_BYTES: Final = 8_192


@record
class Part:
    """A part's name, the name of its file, and where in the body its content is: `[start, end)`."""

    name: str
    filename: str
    start: int
    end: int


def parts_of(body: bytes, content_type: str) -> list[Part]:
    """The parts of a body. Raises `InvalidRequest`."""
    return list(_parts(body, _delimiter(content_type)))


def with_content(body: bytes, part: Part, content: str) -> bytes:
    """The body with another content in one part."""
    return b"%b%b%b" % (body[: part.start], content.encode(), body[part.end :])


def with_field(body: bytes, content_type: str, name: str, content: str) -> bytes:
    """The body with one more part, before the others."""
    delimiter = _delimiter(content_type)
    place = body.index(delimiter)
    head = b'%b\r\nContent-Disposition: form-data; name="%b"' % (delimiter, name.encode())
    return b"%b%b\r\n\r\n%b\r\n%b" % (body[:place], head, content.encode(), body[place:])


def _delimiter(content_type: str) -> bytes:
    boundary = _parameter(content_type, "boundary")
    if not content_type.lower().startswith("multipart/form-data") or not boundary:
        raise InvalidRequest("The body must be multipart/form-data with a boundary.", "Content-Type")
    return b"--" + boundary.encode("latin-1", "replace")


def _parts(body: bytes, delimiter: bytes) -> Iterator[Part]:
    place = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    if place == 1:
        raise InvalidRequest("The body does not begin with its boundary.")
    for _ in range(_MAX_PARTS + 1):
        place += len(delimiter)
        if body[place : place + 2] == b"--":
            return
        head_end = body.find(b"\r\n\r\n", place, place + _MAX_HEAD_BYTES)
        end = body.find(b"\r\n" + delimiter, max(head_end, place))
        if head_end < 0 or end < 0:
            raise InvalidRequest("The body ends within a part.")
        disposition = _disposition(body[place:head_end])
        yield Part(
            name=_parameter(disposition, "name"),
            filename=_parameter(disposition, "filename"),
            start=min(head_end + 4, end),
            end=end,
        )
        place = end + 2
    raise InvalidRequest(f"The body has more than {_MAX_PARTS} parts.")


def _disposition(head: bytes) -> str:
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, text = line.partition(":")
        if name.strip().lower() == "content-disposition":
            return text.strip()
    raise InvalidRequest("A part of the body has no Content-Disposition.")


def _parameter(header: str, name: str) -> str:
    message = Message()
    message["Content-Disposition"] = header.replace("\r", " ").replace("\n", " ")
    found = message.get_param(name, "", "content-disposition")
    return found[2] if isinstance(found, tuple) else str(found or "")
