"""Refuse references to what is stored at Azure: tenants share a resource, so it could be another tenant's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from shared.domain.errors import InvalidRequest

_IDS: Final = ("file_id", "file_ids", "container_id")


def check_members(fields: Mapping[str, Any], refused: Iterable[str]) -> None:
    """Raise `InvalidRequest` if the body has one of these members."""
    for name in refused:
        if fields.get(name) is not None:
            raise InvalidRequest(f"'{name}' is not supported: it names stored data, or is billed beside tokens.", name)


def check_part(part: Mapping[str, Any], param: str) -> None:
    """Raise `InvalidRequest` if a part of the content names a stored file, itself or in an object inside it."""
    for holder in (part, *part.values()):
        if isinstance(holder, dict):
            for name in _IDS:
                if holder.get(name) is not None:
                    raise InvalidRequest(f"'{name}' is not supported: send the content itself.", param)


def check_message_member(name: str) -> None:
    """Raise `InvalidRequest` if a member of a chat's message names a stored sound in place of its content."""
    if name == "audio":
        raise InvalidRequest("Sound by reference is not supported: send its transcript as 'content'.", "messages")


def check_nested(fields: Mapping[str, Any], holder_name: str, name: str) -> None:
    """Raise `InvalidRequest` if an object of the body has a member that names something stored."""
    holder = fields.get(holder_name)
    if isinstance(holder, dict) and holder.get(name) is not None:
        raise InvalidRequest(f"'{name}' is not supported: it names stored data.", f"{holder_name}.{name}")


def check_voice(voice: object, param: str) -> None:
    """Raise `InvalidRequest` if a voice is named by the id of a stored one."""
    if isinstance(voice, dict):
        raise InvalidRequest("Voices of your own are not supported: name a built-in one.", param)
