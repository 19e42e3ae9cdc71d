"""Rules that values of settings must keep. Each returns the problem in words, without the value, or `None`."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

SHORTEST_SECRET: Final = 32
_LEAST_CHARACTERS: Final = 8
"""Different characters of a secret. A random one has more, also in hexadecimal."""
_REFERENCES: Final = ("@microsoft.keyvault", "@microsoft.appconfiguration")
_OTHER_REFERENCES: Final = ("keyvaultref:", "secretref:", "@appsetting(")
"""Beginnings of references in Azure Container Apps and in authentication settings."""
_PLACEHOLDER: Final = re.compile(
    r"(replace|change)[-_ ]?(me|this|with).*|your[-_ ].*|<.*>|\$[({].*[)}]|\{\{.*\}\}|#\{.*\}#?|%.+%|__.+__",
    re.IGNORECASE | re.DOTALL,
)
"""Texts that examples, pipelines and templates have in the place of a value."""
_SECRET_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,127}")
_NOT_IN_A_URL: Final = re.compile(r"[\x00-\x20\x7f\\]")
_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")


def refuse(problem: str | None) -> None:
    """Raise `ValueError` with a problem, if there is one."""
    if problem is not None:
        raise ValueError(problem)


def listed(text: str) -> tuple[str, ...]:
    """Return the values of a setting that are separated by commas."""
    return tuple(each.strip() for each in text.split(",") if each.strip())


def unresolved_problem(text: str) -> str | None:
    """Refuse a reference that the platform has not resolved, and a placeholder that nobody has replaced.

    Azure hands the text of a Key Vault reference to the app if it cannot read the secret:
    https://learn.microsoft.com/azure/app-service/app-service-key-vault-references
    """
    folded = "".join(text.casefold().split()).strip("\"'")
    if any(each in folded for each in _REFERENCES) or folded.startswith(_OTHER_REFERENCES):
        return "is a reference that Azure has not resolved; check the secret's name and the identity's access to it"
    if _PLACEHOLDER.fullmatch(text.strip().strip("\"'")):
        return "is a placeholder; replace it by a value"
    return None


def secret_problem(text: str) -> str | None:
    """Refuse a secret that can be guessed."""
    if len(text.strip()) < SHORTEST_SECRET:
        return f"must have at least {SHORTEST_SECRET} characters"
    if len(set(text)) < _LEAST_CHARACTERS:
        return f"must have at least {_LEAST_CHARACTERS} different characters; generate a random one"
    return None


def header_problem(text: str) -> str | None:
    """Refuse a key that no caller can send in a header."""
    if not (text.isascii() and text.isprintable() and text == text.strip()):
        return "must be printable ASCII without blanks at its ends"
    return None


def backend_key_problem(text: str) -> str | None:
    """Refuse a text of a vault that no backend can have as its key."""
    return (unresolved_problem(text) or header_problem(text)) if text else "must not be empty"


def admin_key_problem(text: str) -> str | None:
    """Refuse a management key that can be guessed, or that no caller can send."""
    return unresolved_problem(text) or secret_problem(text) or header_problem(text)


def chain_key_problem(text: str) -> str | None:
    """Refuse a key of ledger entries that can be guessed."""
    return unresolved_problem(text) or secret_problem(text)


def webhook_problem(text: str) -> str | None:
    """Refuse an address that is none of a webhook. Its query may hold a secret."""
    try:
        parts = urlsplit(text)
        is_web = bool(parts.hostname) and not (parts.username or parts.password)
    except ValueError:
        is_web = False
    if not is_web or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(text))):
        return "must be an https URL without a user"
    return None


def secret_name_problem(text: str) -> str | None:
    """Refuse a name that no secret of a key vault can have.

    https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
    """
    if _SECRET_NAME.fullmatch(text) is None:
        return "must be the name of a secret: 1 to 127 letters, digits and hyphens"
    return None


def vault_problem(text: str, suffixes: Iterable[str]) -> str | None:
    """Refuse an address to which the gateway must not send a token for key vaults, or that is none of a vault."""
    url = _url(text)
    if url is None or url.scheme != "https" or url.path not in ("", "/"):
        return "must be a URL such as https://NAME.vault.azure.net"
    if not (url.hostname or "").endswith(tuple(map(str.lower, suffixes))) and not is_loopback(text):
        return "must have a host that ends with one of KEY_VAULT_HOST_SUFFIXES"
    return None


def account_key_problem(text: str) -> str | None:
    """Refuse a key of a storage account that is not base64."""
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return "must be base64, as Azure shows it"
    return None


def endpoint_problem(text: str) -> str | None:
    """Refuse an endpoint of a storage account that is no URL, or that sends data in the clear to another machine."""
    url = _url(text)
    if url is None:
        return "must be a URL such as https://ACCOUNT.table.core.windows.net"
    if url.scheme == "http" and not is_loopback(text):
        return "must be https, but for an emulator on this machine"
    return None


def collector_problem(text: str) -> str | None:
    """Refuse an address that no collector of telemetry can have. One beside the gateway has no TLS."""
    return None if _url(text) is not None else "must be a URL such as http://collector:4318"


def is_loopback(endpoint: str) -> bool:
    """Tell whether an endpoint is on this machine."""
    url = _url(endpoint)
    if url is None:
        return False
    host = (url.hostname or "").removesuffix(".")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _url(text: str) -> SplitResult | None:
    """Return the parts of an http URL with a host and a path only; `None` for anything else, and for a placeholder."""
    try:
        url = urlsplit(text)
        host = url.hostname or ""
        is_plain = url.port != 0 and not (url.query or url.fragment or "@" in url.netloc or _NOT_IN_A_URL.search(text))
        if "[" in url.netloc or not _HOST_NAME.fullmatch(host):
            ip_address(host)
    except ValueError:
        return None
    is_placeholder = host.startswith("your-")
    return url if is_plain and not is_placeholder and url.scheme in ("http", "https") else None
