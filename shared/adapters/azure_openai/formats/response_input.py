"""The input of a response: its texts, its media, and the items that are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from shared.adapters.azure_openai.formats import bodies
from shared.adapters.azure_openai.formats.media import Media
from shared.adapters.azure_openai.formats.references import check_part
from shared.adapters.azure_openai.formats.tools import RESPONSE_TOOLS, check_environment, check_tools
from shared.domain.errors import InvalidRequest

_PARAM: Final = "input"
_MESSAGE: Final = "message"
_ITEM_TYPES: Final = frozenset({
    "additional_tools", "apply_patch_call", "apply_patch_call_output", "compaction", "computer_call",
    "computer_call_output", "configuration_update", "custom_tool_call", "custom_tool_call_output", "function_call",
    "function_call_output", "local_shell_call", "local_shell_call_output", "message", "reasoning", "shell_call",
    "shell_call_output",
})  # fmt: skip
"""Items that contain what they mean. Items of hosted tools name data that is stored at Azure, as references do."""
_NOT_READ: Final = frozenset({"type", "id", "status"})
"""Members of an item that the model does not read."""
_MEDIA_TYPES: Final = frozenset({"input_image", "computer_screenshot", "input_file", "input_audio"})
_INPUT: Final = "input_"
_INPUT_TEXT: Final = "input_text"
_TEXT_TYPES: Final = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_ENCRYPTED: Final = frozenset({"reasoning", "compaction"})
_NO_CONTENT: Final = frozenset({"type", "id", "status", "role", "call_id"})
"""Members that only name an item, or another one."""
_MOST_TYPE_CHARACTERS: Final = 64


def input_of(items: Sequence[object]) -> tuple[list[str], Media]:
    """Return all texts of the items, and their images, sounds and files. Raises `InvalidRequest`."""
    texts: list[str] = []
    media = Media()
    for item in items:
        if not isinstance(item, dict):
            texts += bodies.texts_in(item)  # a bare string is a message of the user
            continue
        _check_item(item)
        for part in _parts_of(item):
            if isinstance(part, dict):
                check_part(part, _PARAM)
                kind = bodies.first_text(part.get("type"))
                if kind in _MEDIA_TYPES:
                    media.add(part)
                    continue
                if kind.startswith(_INPUT) and kind != _INPUT_TEXT:
                    media.add_unknown()
                if kind in _TEXT_TYPES:
                    part = part.get("text", part)  # noqa: PLW2901 - the model reads nothing else of it
            texts += bodies.texts_in(part)
    return texts, media


def _check_item(item: dict[str, Any]) -> None:
    """Raise `InvalidRequest` for an item that only refers to something, which could be another tenant's."""
    kind = item.get("type")
    if kind is None and "id" not in item and "role" in item:
        kind = _MESSAGE
    if kind is None or kind == "item_reference":
        raise InvalidRequest(
            "Items by reference are not supported: send the item itself with its 'type', or 'previous_response_id'.",
            _PARAM,
        )
    if not isinstance(kind, str) or kind not in _ITEM_TYPES:
        raise InvalidRequest(f"Items of type '{str(kind)[:_MOST_TYPE_CHARACTERS]}' are not supported.", _PARAM)
    if kind in _ENCRYPTED and not _is_contained(item):
        raise InvalidRequest(
            f"A {kind} item without 'encrypted_content' refers to a stored one. Ask for it with 'include': "
            "['reasoning.encrypted_content'], or send 'previous_response_id' in place of the items.",
            _PARAM,
        )
    if all(item[name] is None for name in item.keys() - _NO_CONTENT):
        raise InvalidRequest(f"A {kind} item without its content refers to a stored one: send its content.", _PARAM)
    if kind == "shell_call":
        check_environment(item.get("environment"), _PARAM)
    if kind == "additional_tools":
        check_tools(item.get("tools"), RESPONSE_TOOLS)


def _is_contained(item: dict[str, Any]) -> bool:
    """Tell whether an item contains its reasoning. With an id beside plain content, Azure may look for the id."""
    return bool(item.get("encrypted_content") or (item.get("content") and item.get("id") is None))


def _parts_of(item: dict[str, Any]) -> list[object]:
    """Return the parts of an item that the model reads. A list counts as its elements."""
    parts: list[object] = []
    for name, value in item.items():
        if name not in _NOT_READ:
            parts += value if isinstance(value, list) else [value]
    return parts
