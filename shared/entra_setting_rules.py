"""Rules that the settings of Entra ID must keep. Each returns the problem in words, without the value, or `None`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from shared.domain.identity.authority import authority_of
from shared.domain.identity.token_rules import is_guid

_PERSONAL_ACCOUNTS: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The directory of all personal Microsoft accounts. https://learn.microsoft.com/entra/identity-platform/access-tokens"""
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://([^\s/?#]+)(/[^\s?#]*)?", re.IGNORECASE)
_OF_MICROSOFT: Final = re.compile(
    r"(.+\.)?(azure|microsoft|microsoftonline|office)\.(com|us|cn)|(.+\.)?(windows\.net|chinacloudapi\.cn)",
    re.IGNORECASE,
)
"""Hosts in the names of Microsoft's own services. Nobody else can have them verified for an application."""
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""RFC 6749, appendix A.4."""


def _directories_problem(text: str) -> str | None:
    """Refuse names of directories, such as `common` or a domain: a token states the id."""
    ids = _listed(text.lower())
    if not all(map(is_guid, ids)):
        return "must hold ids of Entra tenants (GUIDs)"
    if _PERSONAL_ACCOUNTS in ids:
        return "must not hold the directory of personal accounts, which everybody can join"
    return None


def _client_problem(text: str) -> str | None:
    return None if not text or is_guid(text.lower()) else "must be the id of an application (a GUID)"


def _authority_problem(url: str) -> str | None:
    return (
        None if authority_of(url) else "must be an https URL without a path, such as https://login.microsoftonline.com"
    )


def _own_audiences_problem(text: str) -> str | None:
    """Refuse services of Microsoft as names of the gateway: their tokens would have roles here."""
    if any(uri and _OF_MICROSOFT.fullmatch(uri[1]) for uri in map(_URI.fullmatch, _listed(text))):
        return "holds a service of Microsoft; name it in ENTRA_LEGACY_AUDIENCES"
    return _audiences_problem(text)


def _audiences_problem(text: str) -> str | None:
    if not all(is_guid(each) or _URI.fullmatch(each) for each in _listed(text)):
        return "must hold application ID URIs, such as api://gateway, or ids of applications (GUIDs in lower case)"
    return None


def _scopes_problem(text: str) -> str | None:
    scopes = _listed(text)
    return None if scopes and all(map(_SCOPE.fullmatch, scopes)) else "must hold names, such as user_impersonation"


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


ENTRA_RULES: Final[Mapping[str, Callable[[str], str | None]]] = {
    "entra_tenant_ids": _directories_problem,
    "entra_client_id": _client_problem,
    "entra_authority": _authority_problem,
    "entra_audiences": _own_audiences_problem,
    "entra_legacy_audiences": _audiences_problem,
    "entra_scopes": _scopes_problem,
}
"""The rule of each setting, by the name of its field."""
