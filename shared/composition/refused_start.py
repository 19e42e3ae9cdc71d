"""Tell that the configuration is refused, in the log and to a monitor."""

from __future__ import annotations

import logging
from typing import Final

from shared.application.structured_log import MESSAGE, log_event
from shared.composition.telemetry import exported_telemetry
from shared.export_settings import read_export_settings
from shared.setting_problems import SettingsInvalid

_told: Final = set[str]()
"""The problems that this process has told."""


def tell_refused(error: SettingsInvalid) -> None:
    """Write the line of refused settings, once for the same problems. It is exported if the settings of that are right.

    The export is in the background, and nothing waits for it.
    """
    if error.problems in _told:
        return
    _told.add(error.problems)
    settings = read_export_settings()
    telemetry = exported_telemetry(settings) if settings else None
    log_event(logging.ERROR, "gateway.misconfigured", {MESSAGE: str(error)})
    if telemetry is not None:
        telemetry.finish()
