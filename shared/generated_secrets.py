"""Secrets of a gateway on a laptop: generated once, and kept in a file that only its owner can read."""

from __future__ import annotations

import json
import logging
import secrets
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

logger = logging.getLogger("tallygate")
FILE_NAME: Final = "generated-secrets.json"
NAMES: Final = ("audit_chain_key", "admin_api_key")


class SecretsUnusable(Exception):
    """The file of generated secrets cannot be read or written. The message names it."""


def generated_secrets(folder: Path, *, generate: bool) -> dict[str, str]:
    """Return the secrets of the folder's file, and name the file in the log, once a process.

    `generate` makes the file where there is none. All processes get the same secrets, also if they start at once.
    Empty if there is no file. Raises `SecretsUnusable`.
    """
    path = folder / FILE_NAME
    try:
        if generate and not path.exists():
            _write_once(path)
        kept = json.loads(path.read_text())
        found = {name: str(kept[name.upper()]) for name in NAMES}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SecretsUnusable(f"{path} cannot be used: {error.strerror}") from None
    except (ValueError, TypeError, LookupError):
        raise SecretsUnusable(f"{path} is damaged; remove it") from None
    _name(path)
    return found


def _write_once(path: Path) -> None:
    """Write a complete file under another name, and link it, so that no process ever reads a part of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = {name.upper(): secrets.token_urlsafe(32) for name in NAMES}
    # a temporary file is readable by its owner alone
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{FILE_NAME}-") as file:
        json.dump(document, file, indent=2)
        file.flush()
        with suppress(FileExistsError):  # another process was first
            path.hardlink_to(file.name)


@cache
def _name(path: Path) -> None:
    logger.warning("AUDIT_CHAIN_KEY and ADMIN_API_KEY are not set: those in %s are used", path)
