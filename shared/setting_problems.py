"""The error of settings. It has a module of its own, so that whoever catches it need not load the settings."""

from __future__ import annotations

from collections.abc import Sequence


class SettingsInvalid(Exception):
    """Settings are missing or wrong. The message names each variable, and never shows a value."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = "; ".join(problems)
        super().__init__(f"Settings are incomplete or wrong: {self.problems}")
