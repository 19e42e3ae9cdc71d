"""Wrong settings fail at the start. The error names the variable and shows no value."""

from __future__ import annotations

import pytest

from shared.setting_problems import SettingsInvalid
from shared.settings import Settings, read_settings

GOOD = {
    "TALLYGATE_TABLE_ENDPOINT": "https://x.table.core.windows.net",
    "TALLYGATE_BLOB_ENDPOINT": "https://x.blob.core.windows.net",
    "AUDIT_CHAIN_KEY": "0123456789abcdef" * 2,
}


SECOND = "1=" + "fedcba9876543210" * 2 + "="


def read(monkeypatch: pytest.MonkeyPatch, **changes: str) -> Settings:
    for name, value in {**GOOD, **changes}.items():
        monkeypatch.setenv(name, value)
    return read_settings()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TALLYGATE_TABLE_ENDPOINT": ""}, "TALLYGATE_TABLE_ENDPOINT is required"),
        ({"AUDIT_CHAIN_KEY": ""}, "AUDIT_CHAIN_KEY"),
        ({"AUDIT_CHAIN_KEY": "short-secret"}, "AUDIT_CHAIN_KEY must have at least 32 characters"),
        ({"ADMIN_API_KEY": "short-secret"}, "ADMIN_API_KEY must have at least 32 characters"),
        ({"TALLYGATE_STORAGE_ACCOUNT_KEY": "short-secret"}, "TALLYGATE_STORAGE_ACCOUNT_NAME is required"),
        ({"TALLYGATE_STORAGE_ACCOUNT_KEY": "short-secret"}, "TALLYGATE_STORAGE_ACCOUNT_KEY must be base64"),
        ({"TALLYGATE_BLOB_ENDPOINT": ""}, "TALLYGATE_BLOB_ENDPOINT is required"),
        ({"ADMIN_API_KEY": "abcdefgh" * 5 + "\n"}, "ADMIN_API_KEY must be printable ASCII"),
        ({"ADMIN_API_KEY": "abcdefg\u00e4" * 5}, "ADMIN_API_KEY must be printable ASCII"),
        ({"AUDIT_CHAIN_KEY": " " * 40}, "AUDIT_CHAIN_KEY must have at least 32 characters"),
        ({"AUDIT_CHAIN_KEYS": SECOND}, "AUDIT_CHAIN_KEY_VERSION is required with AUDIT_CHAIN_KEYS"),
        ({"AUDIT_CHAIN_KEYS": SECOND, "AUDIT_CHAIN_KEY_VERSION": "3"}, "AUDIT_CHAIN_KEY_VERSION must be a version in"),
        ({"AUDIT_CHAIN_KEY_VERSION": "1"}, "AUDIT_CHAIN_KEY_VERSION must be a version in"),
        (
            {"AUDIT_CHAIN_KEY": "", "AUDIT_CHAIN_KEYS": SECOND, "AUDIT_CHAIN_KEY_VERSION": "0"},
            "AUDIT_CHAIN_KEY_VERSION must be a version in",
        ),
        ({"AUDIT_CHAIN_KEYS": "short-secret"}, "AUDIT_CHAIN_KEYS must be VERSION=SECRET,...; the version of item 1"),
        ({"AUDIT_CHAIN_KEYS": f"{SECOND},V3={'short-secret' * 3}"}, "the version of item 2"),
        ({"AUDIT_CHAIN_KEYS": "1=short-secret"}, "item 1: the secret must have at least 32 characters"),
        ({"AUDIT_CHAIN_KEYS": f"{SECOND},2=" + "ab" * 20}, "item 2: the secret must have at least 8 different"),
        ({"AUDIT_CHAIN_KEYS": "1=<the second chain key which is random>"}, "item 1: the secret is a placeholder"),
        ({"AUDIT_CHAIN_KEYS": f"{SECOND},{SECOND}"}, "AUDIT_CHAIN_KEYS must name each version once"),
        ({"AUDIT_CHAIN_KEYS": f"{SECOND},2{SECOND[1:]}"}, "AUDIT_CHAIN_KEYS must have another secret for each"),
        ({"AUDIT_CHAIN_KEYS": f"0{SECOND[1:]}"}, "AUDIT_CHAIN_KEY is version 0, which AUDIT_CHAIN_KEYS must not"),
        ({"AUDIT_CHAIN_KEYS": f"1={'0123456789abcdef' * 2}"}, "AUDIT_CHAIN_KEY is version 0, which"),
        ({"AUDIT_CHAIN_KEY_ENDS": "short-secret"}, "AUDIT_CHAIN_KEY_ENDS must be VERSION=TIME"),
        ({"AUDIT_CHAIN_KEY_ENDS": "1=2026-11-01T12:00:00"}, "AUDIT_CHAIN_KEY_ENDS must be VERSION=TIME"),
        ({"AUDIT_CHAIN_KEY_ENDS": "V1=2026-11-01T12:00:00Z"}, "AUDIT_CHAIN_KEY_ENDS must be VERSION=TIME"),
        ({"AUDIT_CHAIN_KEY_ENDS": "1=0001-01-01T00:00:00+01:00"}, "AUDIT_CHAIN_KEY_ENDS must be VERSION=TIME"),
        ({"AUDIT_CHAIN_KEY_ENDS": "0=2026-11-01T12:00:00Z"}, "AUDIT_CHAIN_KEY_ENDS must not name the version that"),
        ({"KEEP_ALIVE_SECONDS": "inf"}, "KEEP_ALIVE_SECONDS"),
        ({"CLOSE_GRACE_HOURS": "nan"}, "CLOSE_GRACE_HOURS"),
        ({"MAX_BODY_BYTES": "0"}, "MAX_BODY_BYTES"),
        ({"BACKEND_HOST_SUFFIXES": "openai.azure.com"}, "BACKEND_HOST_SUFFIXES"),
        ({"BACKEND_HOST_SUFFIXES": ".openai.azure.com,.0.0.1"}, "BACKEND_HOST_SUFFIXES"),
        ({"MAX_BODY_BYTES": "200", "BODY_BUDGET_BYTES": "399"}, "BODY_BUDGET_BYTES must be at least twice"),
        ({"DRAIN_TIMEOUT_SECONDS": "short-secret"}, "DRAIN_TIMEOUT_SECONDS"),
        ({"TALLYGATE_STORAGE": "short-secret"}, "TALLYGATE_STORAGE"),
        ({"AUDIT_ANCHOR_ORIGIN": "a short-secret"}, "AUDIT_ANCHOR_ORIGIN must be a name without blanks"),
        ({"AUDIT_SIGNING_KEY_NAME": "anchors"}, "AUDIT_SIGNING_KEY_NAME needs AZURE_KEY_VAULT_URL"),
        ({"AUDIT_SIGNING_KEY_NAME": "short/secret"}, "AUDIT_SIGNING_KEY_NAME must be the name of a key"),
        (
            {
                "AUDIT_SIGNING_KEY_NAME": "anchors",
                "AUDIT_SIGNING_KEY_FILE": "x.pem",
                "AZURE_KEY_VAULT_URL": "https://x.vault.azure.net",
            },
            "AUDIT_SIGNING_KEY_FILE and AUDIT_SIGNING_KEY_NAME exclude each other",
        ),
        ({"AUDIT_ANCHOR_ORIGIN": "a+b"}, "AUDIT_ANCHOR_ORIGIN must be a name without blanks"),
        ({"AUDIT_WITNESS_CONTAINER_URL": "https://x.blob.core.windows.net/"}, "AUDIT_WITNESS_CONTAINER_URL must be"),
        ({"AUDIT_WITNESS_CONTAINER_URL": "http://x.blob.core.windows.net/y"}, "AUDIT_WITNESS_CONTAINER_URL must be"),
        ({"AUDIT_WITNESS_CONTAINER_URL": "anchors"}, "AUDIT_WITNESS_CONTAINER_URL must be"),
        ({"AUDIT_WITNESS_URL": "http://x.example/short-secret"}, "AUDIT_WITNESS_URL must be an https URL"),
        ({"AUDIT_WITNESS_URL": "https://user:short-secret@x.example/"}, "AUDIT_WITNESS_URL must be an https URL"),
        ({"AUDIT_WITNESS_URL": "https:///short-secret"}, "AUDIT_WITNESS_URL must be an https URL"),
        ({"AUDIT_WITNESS_URL": "https://[short-secret"}, "AUDIT_WITNESS_URL must be an https URL"),
        ({"AUDIT_WITNESS_URL": "short-secret"}, "AUDIT_WITNESS_URL must be an https URL"),
        ({"APPLICATIONINSIGHTS_CONNECTION_STRING": "short-secret"}, "must state an InstrumentationKey"),
        (
            {
                "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=short-secret;IngestionEndpoint=http://x.example/"
            },
            "must have an https IngestionEndpoint",
        ),
        (
            {
                "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=short-secret",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example",
            },
            "contradicts APPLICATIONINSIGHTS_CONNECTION_STRING",
        ),
    ],
)
def test_each_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsInvalid, match=message) as raised:
        read(monkeypatch, **changes)
    assert "short-secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "versions", "newest"),
    [
        ({}, ["0"], "0"),
        ({"AUDIT_CHAIN_KEYS": SECOND, "AUDIT_CHAIN_KEY_VERSION": "1"}, ["0", "1"], "1"),
        ({"AUDIT_CHAIN_KEYS": f" {SECOND} ,", "AUDIT_CHAIN_KEY_VERSION": "0"}, ["0", "1"], "0"),
        ({"AUDIT_CHAIN_KEYS": SECOND, "AUDIT_CHAIN_KEY": "", "AUDIT_CHAIN_KEY_VERSION": "1"}, ["1"], "1"),
    ],
)
def test_each_version_of_the_chain_key_is_known_and_the_named_one_signs(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], versions: list[str], newest: str
) -> None:
    settings = read(monkeypatch, **changes)
    keys = settings.chain_keys
    assert (sorted(keys), settings.audit_chain_key_version) == (versions, newest)
    assert keys.get("1", b"").decode() in ("", SECOND[2:])


def test_ends_of_keys_are_times_of_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, AUDIT_CHAIN_KEY_ENDS="1=2026-11-01T12:00:00+01:00, 2b=2026-11-02T00:00:00.5Z")
    assert settings.chain_key_ends == {"1": "2026-11-01T11:00:00.000Z", "2b": "2026-11-02T00:00:00.500Z"}


ENDPOINTS = [
    "x.table.core.windows.net", "ftp://x", "https://", "https://x y", "https://x\\y", "https://user:word@x", "https://x?sig=1",
    "https://x#1", "https://@x", "https://:word@x", "https://x..y", "https://-x.y", "https://x|y", "https://x%41.y",
    "https://\u00fcber.example", "https://[v1.x]", "https://*.core.windows.net", "https://" + "x" * 64,
    "https://x:port", "https://x:0", "https://[::1", "http://x.table.core.windows.net", "http://10.0.0.1:10002/x",
    "http://localhost.evil.example/x", "http://127.0.0.1.evil.example/x", "https://YOUR-ACCOUNT.table.core.windows.net",
    "https://YOUR-BOOKS-ACCOUNT.table.core.windows.net",
]  # fmt: skip


@pytest.mark.parametrize("name", ["TALLYGATE_TABLE_ENDPOINT", "TALLYGATE_BLOB_ENDPOINT"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_endpoint_is_a_url_with_tls(monkeypatch: pytest.MonkeyPatch, name: str, endpoint: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"{name} must be") as raised:
        read(monkeypatch, **{name: endpoint})
    assert endpoint == "https://" or endpoint not in str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "127.9.9.9", "azurite.localhost"])
def test_an_emulator_on_this_machine_needs_no_tls_but_a_key(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    account = {"TALLYGATE_STORAGE_ACCOUNT_NAME": "x", "TALLYGATE_STORAGE_ACCOUNT_KEY": "a2V5"}
    endpoint = {"TALLYGATE_TABLE_ENDPOINT": f"http://{host}:10002/x"}
    assert read(monkeypatch, **endpoint, **account).tallygate_table_endpoint == endpoint["TALLYGATE_TABLE_ENDPOINT"]
    monkeypatch.delenv("TALLYGATE_STORAGE_ACCOUNT_KEY")
    with pytest.raises(SettingsInvalid, match="TABLE_ENDPOINT must be https unless TALLYGATE_STORAGE_ACCOUNT_KEY"):
        read(monkeypatch, **endpoint)


def test_all_problems_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsInvalid) as raised:
        read(
            monkeypatch,
            TALLYGATE_STORAGE="disk",
            TALLYGATE_TABLE_ENDPOINT="",
            TALLYGATE_BLOB_ENDPOINT="http://blobs.example",
            AUDIT_CHAIN_KEY="short",
            ADMIN_API_KEY="short",
            MAX_ATTEMPTS="many",
        )
    told = raised.value.problems.split("; ")
    assert [problem.split()[0].rstrip(":") for problem in told] == [
        "AUDIT_CHAIN_KEY",
        "TALLYGATE_STORAGE",
        "TALLYGATE_TABLE_ENDPOINT",
        "TALLYGATE_BLOB_ENDPOINT",
        "ADMIN_API_KEY",
        "MAX_ATTEMPTS",
    ]


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "secretkeyofabank" * 4  # also base64, as the key of an account is
    settings = read(
        monkeypatch,
        AUDIT_CHAIN_KEY=secret,
        ADMIN_API_KEY=secret,
        AZURE_OPENAI_API_KEY=secret,
        TALLYGATE_STORAGE_ACCOUNT_KEY=secret,
        TALLYGATE_STORAGE_ACCOUNT_NAME="x",
    )
    assert secret not in f"{settings!r} {settings}"


def test_the_host_waits_longer_than_any_request_and_any_run_of_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    read(monkeypatch)  # host.json and the defaults agree


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"BACKEND_TOTAL_TIMEOUT_SECONDS": "1515"}, "must exceed 1800 s: QUEUE_TIMEOUT_SECONDS"),
        ({"FAILOVER_TIMEOUT_SECONDS": "900"}, "FAILOVER_TIMEOUT_SECONDS"),
        ({"CLIENT_STALL_TIMEOUT_SECONDS": "900"}, "CLIENT_STALL_TIMEOUT_SECONDS"),
        ({"TIMER_SLICE_SECONDS": "450"}, "must exceed 1800 s: 4 x TIMER_SLICE_SECONDS"),
        ({"AzureFunctionsJobHost__functionTimeout": "00:10:00"}, "must exceed 1185 s"),
        ({"AzureFunctionsJobHost__functionTimeout": "10 minutes"}, "must be a time span"),
        ({"AzureFunctionsJobHost__functionTimeout": "0:30:00"}, "must be a time span"),
    ],
)
def test_timeouts_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsInvalid, match=message) as raised:
        read(monkeypatch, **changes)
    assert "functionTimeout" in str(raised.value) or "FUNCTIONTIMEOUT" in str(raised.value)


@pytest.mark.parametrize("text", ["-1", "00:20:00", "1.00:00:00", ""])
def test_timeouts_that_agree_are_accepted(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    read(monkeypatch, AzureFunctionsJobHost__functionTimeout=text)


def test_a_host_that_allows_little_needs_shorter_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    read(monkeypatch, AzureFunctionsJobHost__functionTimeout="00:10:00", BACKEND_TOTAL_TIMEOUT_SECONDS="300")


FEDERATED = {
    "AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
    "AZURE_CLIENT_ID": "11111111-1111-1111-1111-111111111111",
    "AZURE_TENANT_ID": "22222222-2222-2222-2222-222222222222",
    "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.us/",
}
"""The variables that the webhook of workload identity adds to a pod."""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AZURE_CLIENT_ID": ""}, "AZURE_CLIENT_ID is required with AZURE_FEDERATED_TOKEN_FILE"),
        ({"AZURE_TENANT_ID": ""}, "AZURE_TENANT_ID is required with AZURE_FEDERATED_TOKEN_FILE"),
        ({"AZURE_AUTHORITY_HOST": "http://login.microsoftonline.com"}, "AZURE_AUTHORITY_HOST must be an https URL"),
        ({"AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/common"}, "AZURE_AUTHORITY_HOST must be an https"),
    ],
)
def test_a_token_of_a_service_account_needs_the_identity_that_it_is_exchanged_for(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str
) -> None:
    read(monkeypatch, **FEDERATED)
    read(monkeypatch, **{**FEDERATED, "AZURE_AUTHORITY_HOST": ""})
    with pytest.raises(SettingsInvalid, match=message):
        read(monkeypatch, **{**FEDERATED, **changes})


def test_the_variables_of_a_developer_are_no_concern_without_a_token_file(monkeypatch: pytest.MonkeyPatch) -> None:
    read(monkeypatch, AZURE_TENANT_ID="contoso", AZURE_AUTHORITY_HOST="login.microsoftonline.com")


VAULT = "https://tallygate.vault.azure.net"


@pytest.mark.parametrize(
    "url",
    [VAULT, f"{VAULT}/", "https://x.vault.azure.cn", "https://X.VAULT.usgovcloudapi.net", "https://127.0.0.1:8443"],
)
def test_a_key_vault_is_at_an_address_of_azure(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    read(monkeypatch, AZURE_KEY_VAULT_URL=url, ADMIN_API_KEY_SECRET_NAME="tallygate-admin-key")


@pytest.mark.parametrize(
    "url",
    [
        "http://x.vault.azure.net", "https://vault.azure.net.evil.example", "https://xvault.azure.net", "https://evil.example",
        "https://x.vault.azure.net/secrets", "https://user@x.vault.azure.net", "x.vault.azure.net", "http://127.0.0.1:8443",
        "https://x.vault.azure.net\\@evil.example", "https://x.vault.azure.net?y", "https://vault.azure.net",
        "https://YOUR-VAULT.vault.azure.net",
    ],
)  # fmt: skip
def test_a_token_is_sent_to_no_other_host(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(SettingsInvalid, match="AZURE_KEY_VAULT_URL must") as raised:
        read(monkeypatch, AZURE_KEY_VAULT_URL=url)
    assert url not in str(raised.value)


def test_further_vaults_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    read(monkeypatch, AZURE_KEY_VAULT_URL="https://x.vault.example", KEY_VAULT_HOST_SUFFIXES=".Vault.Example")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"KEY_VAULT_HOST_SUFFIXES": "vault.azure.net"}, "KEY_VAULT_HOST_SUFFIXES must hold suffixes"),
        ({"ADMIN_API_KEY_SECRET_NAME": "x"}, "ADMIN_API_KEY_SECRET_NAME needs AZURE_KEY_VAULT_URL"),
        ({"AUDIT_CHAIN_KEY_SECRET_NAME": "x"}, "AUDIT_CHAIN_KEY_SECRET_NAME needs AZURE_KEY_VAULT_URL"),
        (
            {"AZURE_KEY_VAULT_URL": VAULT, "AUDIT_CHAIN_KEY_SECRET_NAME": "x", "AUDIT_CHAIN_KEY_VERSION": "0"},
            "AUDIT_CHAIN_KEY_VERSION contradicts AUDIT_CHAIN_KEY_SECRET_NAME",
        ),
        ({"AZURE_OPENAI_API_KEY_SECRET_NAME": "x"}, "AZURE_OPENAI_API_KEY_SECRET_NAME needs AZURE_KEY_VAULT_URL"),
        (
            {"AZURE_KEY_VAULT_URL": VAULT, "ADMIN_API_KEY_SECRET_NAME": "a/b"},
            "SECRET_NAME must be the name of a secret",
        ),
        (
            {"AZURE_KEY_VAULT_URL": VAULT, "ADMIN_API_KEY_SECRET_NAME": "x", "ADMIN_API_KEY": "0123456789abcdef" * 2},
            "ADMIN_API_KEY contradicts ADMIN_API_KEY_SECRET_NAME; set one of them",
        ),
    ],
)
def test_names_of_secrets_need_a_vault_and_no_value(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsInvalid, match=message):
        read(monkeypatch, **changes)


def test_a_wrong_name_of_the_chain_key_is_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsInvalid) as raised:
        read(monkeypatch, AUDIT_CHAIN_KEY="", AZURE_KEY_VAULT_URL=VAULT, AUDIT_CHAIN_KEY_SECRET_NAME="a b")
    assert raised.value.problems.count(";") == 0


def test_the_chain_key_may_be_in_the_vault_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"AZURE_KEY_VAULT_URL": VAULT, "AUDIT_CHAIN_KEY_SECRET_NAME": "tallygate-chain-key"}
    assert [*read(monkeypatch, **changes).chain_keys] == ["0"]
    assert read(monkeypatch, **changes, AUDIT_CHAIN_KEY="").chain_keys == {}
