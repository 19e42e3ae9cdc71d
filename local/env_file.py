"""Read settings from a file `.env`, which a developer keeps for himself."""

from __future__ import annotations

import os
from pathlib import Path

from dotenv import dotenv_values

_NAME = "TALLYGATE_ENV_FILE"


def read_env_file(folder: Path) -> Path | None:
    """Add the settings of the file to the environment, and return its path; `None` if there is no file.

    What the environment has already is left as it is. `TALLYGATE_ENV_FILE` names another file than `.env`.
    """
    path = folder / (os.environ.get(_NAME) or ".env")
    if not path.is_file():
        return None
    for name, text in dotenv_values(path, interpolate=False, encoding="utf-8").items():
        if text is not None:
            os.environ.setdefault(name, text)
    return path
