"""Write the line of a process that has built its gateway, with its settings."""

from __future__ import annotations

import json
import logging
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from shared.application.structured_log import log_event
from shared.settings import Settings

_LOGGER: Final = "tallygate"


def log_started(settings: Settings) -> None:
    """Set the level of the gateway's own lines, and write the settings, without secrets."""
    logging.getLogger(_LOGGER).setLevel(settings.log_level)
    shown = {name.upper(): masked(value) for name, value in settings}
    fields = {"gateway.instance": settings.website_instance_id, "gateway.settings": json.dumps(shown)}
    log_event(logging.INFO, "gateway.started", fields)


def masked(value: object) -> str | int | float:
    """Return a value of a setting without a secret. Of an address only host and path are shown."""
    if isinstance(value, SecretStr):
        return "(set)" if value.get_secret_value() else ""
    if isinstance(value, str):
        return ",".join(_without_secret(each) if "://" in each else each for each in value.split(","))
    return value if isinstance(value, int | float) else str(value)


def _without_secret(address: str) -> str:
    """Return an address without its user, its query and its fragment, which may hold a signature."""
    try:
        url = urlsplit(address.strip())
    except ValueError:
        return "(not an address)"
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))
