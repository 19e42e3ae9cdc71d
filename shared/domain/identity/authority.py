"""The identity provider: the clouds of Entra ID, the hosts that serve their keys, and the issuers of their tokens."""

from __future__ import annotations

import re
from typing import Final

from shared.domain.values import record

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_AUTHORITY: Final = re.compile(rf"https://({_LABEL}(?:\.{_LABEL})*(?::[1-9][0-9]{{0,4}})?)/?", re.IGNORECASE)


@record
class Authority:
    """An identity provider, and how its tokens name it."""

    host: str
    """The host that is asked for keys, with a port if it is not 443."""
    key_hosts: frozenset[str]
    """The hosts from which keys may be fetched, with their ports."""
    v1_issuer: str
    """The URL to which version 1 tokens append `{directory}/`."""
    v2_issuer: str
    """The URL to which version 2 tokens append `{directory}/v2.0`."""

    def issuers(self, directory_id: str) -> dict[str, str]:
        """Return the issuers of a directory, and for each the version of its tokens."""
        return {f"{self.v1_issuer}{directory_id}/": "1.0", f"{self.v2_issuer}{directory_id}/v2.0": "2.0"}


_CLOUDS: Final = (
    (("login.microsoftonline.com",), "https://sts.windows.net/", "https://login.microsoftonline.com/"),
    (("login.microsoftonline.us",), "https://sts.windows.net/", "https://login.microsoftonline.us/"),
    (
        ("login.partner.microsoftonline.cn", "login.chinacloudapi.cn"),
        "https://sts.chinacloudapi.cn/",
        "https://login.partner.microsoftonline.cn/",
    ),
)
"""The public cloud, Azure Government and Azure China: hosts, and what the issuers of both versions begin with.

https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
"""


def authority_of(url: str) -> Authority | None:
    """Return the identity provider at an https URL without a path. Returns `None` if the URL has another form.

    A provider that is not listed here issues its tokens under its own address in both versions.
    """
    found = _AUTHORITY.fullmatch(url)
    if found is None:
        return None
    host = found[1].lower().removesuffix(":443")
    for hosts, v1_issuer, v2_issuer in _CLOUDS:
        if host in hosts:
            return Authority(host=host, key_hosts=frozenset(hosts), v1_issuer=v1_issuer, v2_issuer=v2_issuer)
    own = f"https://{host}/"
    return Authority(host=host, key_hosts=frozenset({host}), v1_issuer=own, v2_issuer=own)
