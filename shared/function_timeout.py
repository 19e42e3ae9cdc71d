"""The time after which the Functions host ends an invocation, and restarts the worker with all its requests.

https://learn.microsoft.com/azure/azure-functions/functions-host-json#functiontimeout
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Final

HOST_FILE: Final = Path(__file__).resolve().parents[1] / "host.json"
_UNLIMITED: Final = "-1"
_TIME_SPAN: Final = re.compile(r"(?:(\d+)\.)?(\d\d):(\d\d):(\d\d)", re.ASCII)
"""A .NET time span: days, hours, minutes, seconds."""


def function_timeout_seconds(override: str = "", host_file: Path = HOST_FILE) -> float:
    """Return the timeout: that of the setting which overrides host.json, or else that of the file.

    Raises `ValueError` for anything but a time span, and -1 for no limit.
    """
    text = override or json.loads(host_file.read_text())["functionTimeout"]
    if text == _UNLIMITED:
        return math.inf
    found = _TIME_SPAN.fullmatch(text)
    if found is None:
        raise ValueError("must be a time span such as 00:30:00, or -1 for no limit")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
