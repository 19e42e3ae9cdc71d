"""Identity providers and their issuers."""

from __future__ import annotations

import pytest

from shared.domain.identity.authority import authority_of

TENANT = "11111111-1111-4111-8111-111111111111"
ISSUERS = {
    "https://login.microsoftonline.com": ("https://sts.windows.net/", "https://login.microsoftonline.com/"),
    "https://LOGIN.microsoftonline.us/": ("https://sts.windows.net/", "https://login.microsoftonline.us/"),
    "https://login.partner.microsoftonline.cn": (
        "https://sts.chinacloudapi.cn/", "https://login.partner.microsoftonline.cn/"
    ),
    "https://login.chinacloudapi.cn:443": ("https://sts.chinacloudapi.cn/", "https://login.partner.microsoftonline.cn/"),
    "https://login.sovereign.example": ("https://login.sovereign.example/", "https://login.sovereign.example/"),
}  # fmt: skip


@pytest.mark.parametrize(("url", "issuers"), ISSUERS.items(), ids=ISSUERS)
def test_each_cloud_has_its_issuers_in_both_versions(url: str, issuers: tuple[str, str]) -> None:
    authority = authority_of(url)
    assert authority is not None
    version_1, version_2 = issuers
    assert authority.issuers(TENANT) == {f"{version_1}{TENANT}/": "1.0", f"{version_2}{TENANT}/v2.0": "2.0"}
    assert authority.host in authority.key_hosts


def test_both_names_of_the_chinese_cloud_serve_keys() -> None:
    one, other = (
        authority_of(f"https://{host}") for host in ("login.chinacloudapi.cn", "login.partner.microsoftonline.cn")
    )
    assert one is not None
    assert other is not None
    assert one.key_hosts == other.key_hosts == {one.host, other.host}


@pytest.mark.parametrize(
    "url",
    ["", "login.microsoftonline.com", "http://login.microsoftonline.com", "https://login.microsoftonline.com/common",
     "https://a@login.microsoftonline.com", "https://login.microsoftonline.com?x", "https://login.microsoftonline.com\n"],
)  # fmt: skip
def test_an_authority_is_an_https_host(url: str) -> None:
    assert authority_of(url) is None
