"""Tools of a request: those that run at the caller pass, those that Azure runs are refused.

Azure bills hosted tools by other units than tokens, and stores data for them that tenants of one resource share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.domain.errors import InvalidRequest

CHAT_TOOLS: Final = frozenset({"function", "custom"})
RESPONSE_TOOLS: Final = CHAT_TOOLS | {
    "local_shell", "shell", "apply_patch", "computer", "computer_use_preview", "namespace"
}  # fmt: skip
_MOST_TYPE_CHARACTERS: Final = 64


def check_tools(tools: object, allowed: frozenset[str]) -> None:
    """Raise `InvalidRequest` unless all tools run at the caller."""
    if tools is None:
        return
    if not isinstance(tools, list):
        raise InvalidRequest("'tools' must be an array.", "tools")
    for tool in tools:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(kind, str) or kind not in allowed:
            raise InvalidRequest(
                f"Tools of type '{str(kind)[:_MOST_TYPE_CHARACTERS]}' are not supported: Azure stores data for them or "
                "bills other units.",
                "tools",
            )
        _check_tool(tool)


def check_environment(environment: object, param: str) -> None:
    """Raise `InvalidRequest` if shell commands run in a container of Azure's and not at the caller."""
    if environment is None or (isinstance(environment, dict) and environment.get("type") == "local"):
        return
    raise InvalidRequest("A shell is supported only with the environment of type 'local'.", param)


def _check_tool(tool: Mapping[str, Any]) -> None:
    if tool["type"] == "shell":
        check_environment(tool.get("environment"), "tools")
    elif tool["type"] == "namespace":
        check_tools(tool.get("tools"), CHAT_TOOLS)
