"""Multipart form bodies (RFC 7578): find parts, and replace or add one. All other bytes stay as they are."""

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
    """One part of a body."""

    name: str
    filename: str
    start: int
    """The offset of its content in the body."""
    end: int
    """The offset behind its content."""


def parts_of(body: bytes, content_type: str) -> list[Part]:
    """Find the parts of a body. Raises `InvalidRequest` if it is malformed or has too many parts."""
    return list(_parts(body, _delimiter(content_type)))


def with_content(body: bytes, part: Part, content: str) -> bytes:
    """Return the body with another content in one part."""
    return b"%b%b%b" % (body[: part.start], content.encode(), body[part.end :])


def with_field(body: bytes, content_type: str, name: str, content: str) -> bytes:
    """Return the body with one more part, before the others."""
    delimiter = _delimiter(content_type)
    position = body.index(delimiter)
    head = b'%b\r\nContent-Disposition: form-data; name="%b"' % (delimiter, name.encode())
    return b"%b%b\r\n\r\n%b\r\n%b" % (body[:position], head, content.encode(), body[position:])


def _delimiter(content_type: str) -> bytes:
    """Return the line that separates parts. Raises `InvalidRequest` if the content type states none."""
    boundary = _parameter(content_type, "boundary")
    if not content_type.lower().startswith("multipart/form-data") or not boundary:
        raise InvalidRequest("The body must be multipart/form-data with a boundary.", "Content-Type")
    return b"--" + boundary.encode("latin-1", "replace")


def _parts(body: bytes, delimiter: bytes) -> Iterator[Part]:
    # A preamble may come before the first delimiter. `find` returns -1 if there is none, which makes 1.
    position = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    if position == 1:
        raise InvalidRequest("The body does not begin with its boundary.")
    for _ in range(_MAX_PARTS + 1):
        position += len(delimiter)
        if body[position : position + 2] == b"--":  # the closing delimiter
            return
        head_end = body.find(b"\r\n\r\n", position, position + _MAX_HEAD_BYTES)
        end = body.find(b"\r\n" + delimiter, max(head_end, position))
        if head_end < 0 or end < 0:
            raise InvalidRequest("The body ends within a part.")
        disposition = _disposition(body[position:head_end])
        yield Part(
            name=_parameter(disposition, "name"),
            filename=_parameter(disposition, "filename"),
            start=min(head_end + 4, end),  # an empty part may share the line end of its head
            end=end,
        )
        position = end + 2
    raise InvalidRequest(f"The body has more than {_MAX_PARTS} parts.")


def _disposition(head: bytes) -> str:
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, text = line.partition(":")
        if name.strip().lower() == "content-disposition":
            return text.strip()
    raise InvalidRequest("A part of the body has no Content-Disposition.")


def _parameter(header: str, name: str) -> str:
    """Read a parameter of a header, with its quotes and encodings (RFC 2231); an empty string if it is missing."""
    message = Message()
    message["Content-Disposition"] = header.replace("\r", " ").replace("\n", " ")
    found = message.get_param(name, "", "content-disposition")
    return found[2] if isinstance(found, tuple) else str(found or "")
