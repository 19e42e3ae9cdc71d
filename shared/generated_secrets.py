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
KEY_FILE_NAME: Final = "audit-signing-key.pem"
PRIVACY_FILE_NAME: Final = "privacy-key"
NAMES: Final = ("audit_chain_key", "admin_api_key")


class SecretsUnusable(Exception):
    """The file of generated secrets cannot be read or written. The message names it."""


def generated_secrets(folder: Path, *, generate: bool, with_key: bool = False) -> dict[str, str]:
    """Return the secrets of the folder's file, and name the file in the log, once a process.

    - `generate` makes the file where there is none. All processes get the same secrets, also if they start at once.
    - `with_key` does the same with a key that signs anchors, and adds the path of its file.

    Empty if there is no file. Raises `SecretsUnusable`.
    """
    path, key_file = folder / FILE_NAME, folder / KEY_FILE_NAME
    try:
        if generate and not path.exists():
            _write_once(path)
        if generate and with_key:
            generate_key_file(key_file)
        kept = json.loads(path.read_text())
        found = {name: str(kept[name.upper()]) for name in NAMES}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SecretsUnusable(f"{path} cannot be used: {error.strerror}") from None
    except (ValueError, TypeError, LookupError):
        raise SecretsUnusable(f"{path} is damaged; remove it") from None
    _name(path)
    if with_key and key_file.is_file():
        found["audit_signing_key_file"] = str(key_file)
    return found


def generated_privacy_key(folder: Path, *, generate: bool) -> dict[str, str]:
    """Return the privacy key of the folder, in a file of its own, because earlier versions made files without it.

    `generate` makes the file where there is none. Empty if there is no file. Raises `SecretsUnusable`.
    """
    path = folder / PRIVACY_FILE_NAME
    try:
        if generate and not path.exists():
            _link_once(path, secrets.token_urlsafe(32).encode())
        return {"privacy_key": path.read_text()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SecretsUnusable(f"{path} cannot be used: {error}") from None


def generate_key_file(path: Path) -> None:
    """Write a PEM file with a new key of the curve P-256, unless the file exists. Several processes get the same key.

    Raises `OSError`.
    """
    if path.exists():
        return
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = generate_private_key(SECP256R1())
    _link_once(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _write_once(path: Path) -> None:
    document = {name.upper(): secrets.token_urlsafe(32) for name in NAMES}
    _link_once(path, json.dumps(document, indent=2).encode())


def _link_once(path: Path, content: bytes) -> None:
    """Write a complete file under another name, and link it, so that no process ever reads a part of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # a temporary file is readable by its owner alone
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-") as file:
        file.write(content)
        file.flush()
        with suppress(FileExistsError):  # another process was first
            path.hardlink_to(file.name)


@cache
def _name(path: Path) -> None:
    logger.warning("AUDIT_CHAIN_KEY and ADMIN_API_KEY are not set: those in %s are used", path)
