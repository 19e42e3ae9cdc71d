"""Rules by which the claims of an access token are accepted, and the facts that are taken from them.

Source: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from shared.domain.errors import InvalidToken
from shared.domain.identity.access_token import AccessTokenClaims
from shared.domain.identity.authority import Authority
from shared.domain.identity.role import Role
from shared.domain.values import record

LEEWAY_SECONDS: Final = 60
"""The difference between the clocks of the identity provider and of the gateway that is forgiven."""
LONGEST_LIFE_SECONDS: Final = 29 * 3600
"""Entra issues tokens for at most 28 hours, and lets them begin five minutes before they are issued."""
_LATEST: Final = 253_402_300_799
"""The end of the year 9999, in seconds since 1970."""
_GUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CLIENT_CLAIMS: Final = {"1.0": "appid", "2.0": "azp"}
"""The claim that names the client application, by the version of the token."""

Claims = Mapping[str, object]


@record
class TokenRules:
    """The tokens that the gateway accepts."""

    authority: Authority
    directory_ids: frozenset[str]
    """The Entra tenants whose tokens are accepted."""
    home_directory_id: str
    """The one whose administrators may give roles of the gateway. Those of the others could give them to themselves."""
    audiences: frozenset[str]
    """The names of the gateway in the claim `aud`."""
    legacy_audiences: frozenset[str] = frozenset()
    """The names of other services whose tokens are accepted, without their roles and groups."""
    scopes: frozenset[str]
    """A person's token has one of these."""


def is_guid(text: str) -> bool:
    """Tell whether a text is a GUID in lower case, as Entra writes the ids of its objects."""
    return _GUID.fullmatch(text) is not None


def accepted_claims(claims: Claims, rules: TokenRules, now: float) -> AccessTokenClaims:
    """Return the facts of a token that is meant for the gateway at a time in seconds since 1970.

    Does not look at the signature. Raises `InvalidToken`.
    """
    directory_id = _guid(claims, "tid")
    if directory_id not in rules.directory_ids:
        raise InvalidToken("Its directory ('tid') is not one that this gateway accepts.")
    version = _version(claims, rules.authority.issuers(directory_id))
    audience = _text(claims, "aud")
    is_legacy = audience in rules.legacy_audiences
    if not is_legacy and audience not in rules.audiences:
        raise InvalidToken("It was issued for another service ('aud'). Ask for a token with the gateway's scope.")
    expires_at = _check_times(claims, now)
    if "cnf" in claims:
        raise InvalidToken("It is bound to a key of its client ('cnf'), so it is not a bearer token.")
    object_id = _guid(claims, "oid")
    return AccessTokenClaims(
        directory_id=directory_id,
        object_id=object_id,
        application_id=_application_id(claims, version),
        is_person=_is_person(claims, rules.scopes, object_id),
        is_managed_identity="xms_mirid" in claims,
        roles=frozenset() if is_legacy else _roles(claims, is_home=directory_id == rules.home_directory_id),
        groups=frozenset() if is_legacy else _texts(claims, "groups"),
        has_group_overage=not is_legacy and _has_group_overage(claims),
        is_legacy_audience=is_legacy,
        expires_at=datetime.fromtimestamp(expires_at, UTC),
    )


def _version(claims: Claims, issuers: Mapping[str, str]) -> str:
    """Return the version of a token, by its issuer. The claim `ver` must agree."""
    version = issuers.get(_text(claims, "iss"))
    if version is None or claims.get("ver", version) != version:
        raise InvalidToken("Its issuer ('iss') is not that of its directory and version.")
    return version


def _check_times(claims: Claims, now: float) -> int:
    """Return the time of expiry. Raises `InvalidToken` for a token that is not valid now, or valid for too long."""
    expires_at = _time(claims, "exp")
    begins_at = _time(claims, "nbf") if "nbf" in claims else now
    issued_at = _time(claims, "iat") if "iat" in claims else now
    if now >= expires_at + LEEWAY_SECONDS:
        raise InvalidToken("It has expired. Get a new one.")
    if now < max(begins_at, issued_at) - LEEWAY_SECONDS:
        raise InvalidToken("It is not valid yet. Check the clock of the machine that got it.")
    if expires_at - min(now, begins_at) > LONGEST_LIFE_SECONDS:
        raise InvalidToken("It is valid for a longer time than Entra issues tokens for.")
    return expires_at


def _application_id(claims: Claims, version: str) -> str:
    """Return the client application. An ID token names none, so it is no access token."""
    own, other = _CLIENT_CLAIMS[version], _CLIENT_CLAIMS["1.0" if version == "2.0" else "2.0"]
    application_id = _guid(claims, own)
    if claims.get(other, application_id) != application_id:
        raise InvalidToken("Its claims 'azp' and 'appid' name different applications.")
    return application_id


def _is_person(claims: Claims, scopes: frozenset[str], object_id: str) -> bool:
    """Tell whether a person has signed in. The token then has a scope; that of an application has none.

    The subject of an application's token is its object id. A person's subject is another one for each application.
    """
    if "scp" not in claims:
        if claims.get("sub", object_id) != object_id:
            raise InvalidToken("It has no scope ('scp'), and it is not the token of an application.")
        return False
    if scopes.isdisjoint(_text(claims, "scp").split(" ")):
        raise InvalidToken("It has none of the scopes ('scp') of this gateway.")
    return True


def _roles(claims: Claims, *, is_home: bool) -> frozenset[str]:
    """Return the app roles. Those of another directory are dropped.

    `Gateway.Use` is kept, because it means nothing without a tenant that names the caller.
    """
    roles = _texts(claims, "roles")
    return roles if is_home else roles & {Role.USE.value}


def _has_group_overage(claims: Claims) -> bool:
    """Tell whether groups were left out, because they are too many for the token."""
    elsewhere = claims.get("_claim_names")
    return claims.get("hasgroups") is True or (isinstance(elsewhere, dict) and "groups" in elsewhere)


def _text(claims: Claims, name: str) -> str:
    text = claims.get(name)
    if not isinstance(text, str) or not text:
        raise _malformed(name)
    return text


def _guid(claims: Claims, name: str) -> str:
    text = _text(claims, name)
    if not is_guid(text):
        raise _malformed(name)
    return text


def _time(claims: Claims, name: str) -> int:
    """Return a whole number of seconds since 1970. `True` is no number."""
    time = claims.get(name)
    if type(time) is not int or not 0 < time <= _LATEST:
        raise _malformed(name)
    return time


def _texts(claims: Claims, name: str) -> frozenset[str]:
    texts = claims.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _malformed(name)
    return frozenset(texts)


def _malformed(name: str) -> InvalidToken:
    return InvalidToken(f"Its claim '{name}' is missing or malformed.")
