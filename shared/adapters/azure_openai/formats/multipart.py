"""Multipart form bodies (RFC 7578): find parts, and replace or add one. All other bytes stay as they are.

Readers of forms differ in what they forgive, and a caller could be judged by one reading and served by another. So a
body that needs any forgiveness is refused: text around the parts, a boundary inside a part, line feeds alone, folded or
unknown headers of a part, names with quotes or encodings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from shared.domain.errors import InvalidRequest
from shared.domain.values import record

_MAX_PARTS: Final = 64
_MAX_HEAD_BYTES: Final = 8_192
_CONTENT_TYPE: Final = re.compile(
    r"multipart/form-data(?: *; *charset=\"?utf-8\"?)? *; *boundary="
    r"(?:\"(?P<quoted>[0-9A-Za-z'()+_,./:=?-]{1,70})\"|(?P<plain>[0-9A-Za-z'+_.-]{1,70}))(?: *; *charset=\"?utf-8\"?)?",
    re.IGNORECASE,
)
"""The boundary has the characters of RFC 2046, section 5.1.1. Only one that is quoted may have separators."""
_HEADER: Final = re.compile(rb"([A-Za-z-]+): ?([^\x00-\x1f\x7f]*)")
_DISPOSITION: Final = re.compile(
    r'form-data; ?name=(?:"(?P<name>[^"\\%]+)"|(?P<plain_name>[\w.-]+))'
    r'(?P<is_file>; ?filename=(?:"[^"\\]*"|[\w.-]+)(?:; ?filename\*=[\w!#$&+^`{}~%\'.-]+)?)?',
    re.ASCII | re.IGNORECASE,
)
"""`filename*` repeats the name for readers that know it. .NET sends it with every file."""
_PLAIN_TEXT: Final = re.compile(
    r"[\w./+-]+(?: ?; ?charset=\"?(?:utf-8|(us-ascii|iso-8859-1))\"?)?", re.ASCII | re.IGNORECASE
)
_IDENTITY_ENCODINGS: Final = frozenset({"7bit", "8bit", "binary"})


@record
class Part:
    """One part of a body."""

    name: str
    is_file: bool
    """It has a file name."""
    start: int
    """The offset of its content in the body."""
    end: int
    """The offset behind its content."""


def parts_of(body: bytes, content_type: str) -> list[Part]:
    """Find the parts of a body. Raises `InvalidRequest` if readers could differ, or if it has too many parts."""
    return list(_parts(body, _delimiter(content_type)))


def with_content(body: bytes, part: Part, content: str) -> bytes:
    """Return the body with another content in one part."""
    return b"%b%b%b" % (body[: part.start], content.encode(), body[part.end :])


def with_field(body: bytes, content_type: str, name: str, content: str) -> bytes:
    """Return the body with one more part, before the others."""
    head = b'%b\r\nContent-Disposition: form-data; name="%b"' % (_delimiter(content_type), name.encode())
    return b"%b\r\n\r\n%b\r\n%b" % (head, content.encode(), body)


def _delimiter(content_type: str) -> bytes:
    """Return the line that separates parts. Raises `InvalidRequest` if the content type states none, or two."""
    found = _CONTENT_TYPE.fullmatch(content_type)
    boundary = found and (found["quoted"] or found["plain"])
    if not boundary or not boundary.strip("-"):  # dashes alone would be found within the closing delimiter
        raise InvalidRequest("The body must be multipart/form-data with one boundary.", "Content-Type")
    return b"--" + boundary.encode()


def _parts(body: bytes, delimiter: bytes) -> Iterator[Part]:
    if not body.startswith(delimiter):
        raise InvalidRequest("The body does not begin with its boundary.")
    position = len(delimiter)
    for _ in range(_MAX_PARTS + 1):
        if body[position : position + 5] in (b"--", b"--\r\n"):  # the closing delimiter, and nothing behind it
            return
        head_end = body.find(b"\r\n\r\n", position, position + _MAX_HEAD_BYTES)
        end = body.find(delimiter, position) - 2
        if not (
            position < head_end <= end - 4 and body.startswith(b"\r\n", position) and body.startswith(b"\r\n", end)
        ):
            raise InvalidRequest("The body has a boundary inside a part, ends within one, or has text after the last.")
        yield _part(body[position + 2 : head_end], body, head_end + 4, end)
        position = end + 2 + len(delimiter)
    raise InvalidRequest(f"The body has more than {_MAX_PARTS} parts.")


def _part(head: bytes, body: bytes, start: int, end: int) -> Part:
    """Read the head of a part (RFC 7578, section 4.8: no other headers). Raises `InvalidRequest`."""
    headers: dict[bytes, str] = {}
    for line in head.split(b"\r\n"):
        header = _HEADER.fullmatch(line)
        if header is None or header[1].lower() in headers:
            raise InvalidRequest("A part of the body has a malformed header, or one that was sent twice.")
        headers[header[1].lower()] = _decoded(header[2]).rstrip(" ")
    disposition = _DISPOSITION.fullmatch(headers.pop(b"content-disposition", ""))
    if disposition is None:
        raise InvalidRequest("A part of the body has no plain Content-Disposition with a name.")
    name, is_file = disposition["name"] or disposition["plain_name"], bool(disposition["is_file"])
    content = body[start:end] if not is_file else b""
    if not _are_plain(headers, end - start, content, is_file=is_file):
        raise InvalidRequest(f"The part '{name}' has a header that readers take in different ways.", name)
    _decoded(content)
    return Part(name=name, is_file=is_file, start=start, end=end)


def _are_plain(headers: dict[bytes, str], length: int, content: bytes, *, is_file: bool) -> bool:
    """Tell whether a part's other headers say nothing that changes its content. `content` is that of a field."""
    kind, encoding = headers.pop(b"content-type", "text/plain"), headers.pop(b"content-transfer-encoding", "binary")
    text = _PLAIN_TEXT.fullmatch(kind)
    is_text = text is not None and (text[1] is None or content.isascii())
    return (
        not kind.lower().startswith("multipart/")
        and (is_file or is_text)
        and encoding.lower() in _IDENTITY_ENCODINGS
        and headers.pop(b"content-length", str(length)) == str(length)
        and not headers
    )


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The fields of the form are not valid UTF-8.") from None
