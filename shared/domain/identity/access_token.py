"""The claims of an Entra access token whose signature, issuer, audience and times were verified."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from shared.domain.values import record

_HEADER_BEGINS: Final = ("ey", "ew")
"""In base64url, the first characters of an object of JSON: `{` and a quotation mark, or a blank."""


@record
class AccessTokenClaims:
    """The facts that the gateway takes from a verified token.

    Source: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
    """

    directory_id: str
    """The Entra tenant that issued the token (`tid`)."""
    object_id: str
    """The person or the service principal, unique in the directory (`oid`)."""
    application_id: str
    """The client application (`azp`, in v1 tokens `appid`)."""
    is_person: bool
    """A person has signed in: the token has scopes (`scp`)."""
    is_managed_identity: bool = False
    """The application is the managed identity of an Azure resource (`xms_mirid`)."""
    roles: frozenset[str] = frozenset()
    """The app roles (`roles`); empty for a token of a legacy audience. Another directory gives `Gateway.Use` only."""
    groups: frozenset[str] = frozenset()
    """The ids of groups (`groups`)."""
    has_group_overage: bool = False
    """The token names no groups, because they are too many."""
    is_legacy_audience: bool = False
    """The token was asked for another service of Azure. It serves inference by principals that are mapped by id."""
    expires_at: datetime


def has_form_of_token(credential: str) -> bool:
    """Tell whether a credential may be a JSON Web Token. A gateway key never has this form."""
    return credential.startswith(_HEADER_BEGINS) and "." in credential
