"""Backends that could betray are refused when they are written, naming the field; stored ones serve on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.domain.errors import InvalidRequest
from shared.domain.routing.backend_rules import BackendRules
from shared.domain.routing.catalog import Backend, BackendApi, BackendAuth
from shared.domain.routing.endpoints import check_endpoint, is_host_suffix

SUFFIXES = (".openai.azure.com", ".Corp.Example")
RULES = BackendRules(host_suffixes=SUFFIXES)
BACKEND = Backend(
    backend_id="b",
    endpoint="https://contoso.openai.azure.com",
    upstream_deployment="d",
    model="m",
    region="swedencentral",
)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://contoso.openai.azure.com",
        "https://contoso.openai.azure.com/",
        "HTTPS://Contoso.OpenAI.Azure.com:443/openai/v1_x~.y",
        "https://llm-1.corp.example:8443/v1",
    ],
)
def test_plain_urls_of_allowed_hosts_are_accepted(endpoint: str) -> None:
    check_endpoint(endpoint, SUFFIXES, allow_loopback=False)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://evil.example\\.openai.azure.com",
        "https://evil.example\\@contoso.openai.azure.com",
        "https:\\\\contoso.openai.azure.com",
        "https://contoso.openai.azure.com\\..\\x",
        "https://user@contoso.openai.azure.com",
        "https://@contoso.openai.azure.com",
        "https://contoso.openai.azure.com@evil.example",
        "https://contoso.openai.azure.com?",
        "https://evil.example?.openai.azure.com",
        "https://evil.example#.openai.azure.com",
        "https://evil.example/.openai.azure.com",
        "https://contoso.openai.azure.com#",
        "https://contoso.openai.azure.com/%2e%2e/x",
        "https://contoso.openai.azure.com/a/../b",
        "https://contoso.openai.azure.com/./b",
        "https://contoso.openai.azure.com//evil.example",
        "https://contoso.openai.azure.com/a;b",
        "https://contoso.openai.azure.com/\u00e9",
        "https://contoso.openai.azure.com\t",
        "https://contoso.openai.azure.com\n",
        "https://contoso.openai.azure.com\r\nhost: evil",
        "https://conto\tso.openai.azure.com",
        "https://contoso.openai.azure.com\x00",
        " https://contoso.openai.azure.com",
        "https://contoso.openai.azure.com:",
        "https://contoso.openai.azure.com:0",
        "https://contoso.openai.azure.com:65536",
        "https://contoso.openai.azure.com:443:443",
        "https://contoso.openai.azure.com:\u0661",
        "https://contoso.openai.azure.com.",
        "https://.openai.azure.com",
        "https://-a.openai.azure.com",
        "https://a..openai.azure.com",
        "https://openai.azure.com",
        "https://evilopenai.azure.com",
        "https://contoso.openai.azure\u3002com",
        "https://contoso.openai.a\u017fure.com",
        "https://contoso.openai.azure.com\uff0fx",
        "https://contoso\u212a.openai.azure.com",
        "https://127.0.0.1",
        "https://[::1]",
        "https://169.254.169.254",
        "http://contoso.openai.azure.com",
        "ftp://contoso.openai.azure.com",
        "//contoso.openai.azure.com",
        "contoso.openai.azure.com",
        "",
    ],
)
def test_other_endpoints_are_refused(endpoint: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_endpoint(endpoint, SUFFIXES, allow_loopback=False)
    assert refused.value.param == "endpoint"


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8080/eastus", "http://localhost:1", "http://[::1]:5/x", "https://LOCALHOST"]
)
def test_this_machine_is_allowed_by_a_setting_only(endpoint: str) -> None:
    check_endpoint(endpoint, SUFFIXES, allow_loopback=True)
    with pytest.raises(InvalidRequest):
        check_endpoint(endpoint, SUFFIXES, allow_loopback=False)


@pytest.mark.parametrize("suffix", [".openai.azure.com", ".corp", ".a-b.c-d"])
def test_a_suffix_begins_with_a_dot_and_ends_in_a_name(suffix: str) -> None:
    assert is_host_suffix(suffix)


@pytest.mark.parametrize("suffix", ["openai.azure.com", ".", "..com", ".0.0.1", ".com/", ".c\u00f6m", "*.com", ".a b"])
def test_other_suffixes_limit_nothing(suffix: str) -> None:
    assert not is_host_suffix(suffix)


@pytest.mark.parametrize(
    ("changes", "param", "hint"),
    [
        ({"region": "swedencentrall"}, "region", "'swedencentral'"),
        ({"region": "Sweden Central"}, "region", "'swedencentral'"),
        ({"region": "EASTUS"}, "region", "'eastus'"),
        ({"sku": "Sandard"}, "sku", "'Standard'"),
        ({"sku": "GlobalBatch"}, "sku", "ALLOWED_SKUS"),
        ({"sku": "standard"}, "sku", "'Standard'"),
        ({"zone": "euu"}, "zone", "'eu'"),
        ({"zone": "EU"}, "zone", "'eu'"),
        ({"zone": "us"}, "zone", "lies in the zone 'eu'"),
        ({"region": "uksouth", "zone": "eu"}, "zone", "no data zone"),
        ({"token_scope": "https://management.azure.com/.default"}, "token_scope", "ALLOWED_TOKEN_SCOPES"),
        ({"token_scope": "https://cognitiveservices.azure.com/.default "}, "token_scope", "Did you mean"),
        ({"authority": "https://login.evil.example"}, "authority", "ALLOWED_AUTHORITIES"),
        ({"authority": "http://login.microsoftonline.com"}, "authority", "Did you mean"),
    ],
)
def test_an_unknown_value_is_refused_with_the_one_that_was_meant(
    changes: dict[str, Any], param: str, hint: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        RULES.checked(replace(BACKEND, **changes), None)
    assert refused.value.param == param
    assert hint in str(refused.value)


def test_new_values_are_allowed_by_settings() -> None:
    rules = BackendRules(
        host_suffixes=SUFFIXES,
        regions=("marscentral",),
        skus=("SolarStandard",),
        zones=("mars",),
        token_scopes=("api://x/.default",),
        authorities=("https://login.mars.example",),
    )
    new = replace(
        BACKEND,
        region="marscentral",
        sku="SolarStandard",
        zone="mars",
        token_scope="api://x/.default",
        authority="https://login.mars.example",
    )
    assert rules.checked(new, None) == new
    assert new.processed_in == "global"  # an SKU that is not known may process anywhere


def test_the_regions_of_other_servers_are_their_owners_business() -> None:
    other = replace(BACKEND, api=BackendApi.OPENAI, region="berlin")
    assert RULES.checked(other, None) == other
    with pytest.raises(InvalidRequest):
        RULES.checked(replace(other, api=BackendApi.AZURE), other)


def test_a_stored_backend_can_be_drained_whatever_it_holds() -> None:
    stored = replace(
        BACKEND, region="x", sku="Old", zone="hq", token_scope="https://old/.default", authority="https://old"
    )
    drained = replace(stored, weight=0)
    assert RULES.checked(drained, stored) == drained
    changed: list[dict[str, Any]] = [{"region": "y"}, {"token_scope": "https://x"}, {"authority": "https://new"}]
    for changes in changed:
        with pytest.raises(InvalidRequest):
            RULES.checked(replace(drained, **changes), stored)


def test_the_zone_of_the_region_is_filled_in() -> None:
    assert RULES.checked(BACKEND, None).zone == "eu"
    assert RULES.checked(replace(BACKEND, region="uksouth"), None).zone == ""


VAULT = BackendRules(host_suffixes=SUFFIXES, has_vault=True, own_secrets=("tallygate-admin-key",))
WITH_KEY = replace(BACKEND, auth=BackendAuth.API_KEY, secret_name="sweden-key")


def test_a_backend_may_name_the_secret_of_its_key() -> None:
    assert VAULT.checked(WITH_KEY, None).secret_name == "sweden-key"


@pytest.mark.parametrize(
    ("rules", "changes", "message"),
    [
        (RULES, {}, "AZURE_KEY_VAULT_URL is not set"),
        (VAULT, {"auth": BackendAuth.MANAGED_IDENTITY}, "'auth' is 'api_key'"),
        (VAULT, {"secret_name": "tallygate-admin-key"}, "is the gateway's own"),
        (VAULT, {"secret_name": "TallyGate-Admin-Key"}, "is the gateway's own"),
    ],
)
def test_a_backend_cannot_name_any_secret(rules: BackendRules, changes: dict[str, Any], message: str) -> None:
    for before in (None, BACKEND):
        with pytest.raises(InvalidRequest, match=message) as raised:
            rules.checked(replace(WITH_KEY, **changes), before)
        assert raised.value.param == "secret_name"


def test_a_stored_backend_keeps_the_secret_that_it_has() -> None:
    assert RULES.checked(replace(WITH_KEY, weight=0), WITH_KEY).weight == 0
