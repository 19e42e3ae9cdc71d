"""Settings that nobody finished: references, placeholders, what is missing. The gateway says so, and opens nothing."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from local.azurite_server import AzuritePorts, azurite_command
from local.functions_host.server import load_local_settings
from shared.composition.process import check_settings, close_current_gateway
from shared.generated_secrets import FILE_NAME, KEY_FILE_NAME, PRIVACY_FILE_NAME
from shared.http.operation_table import OPERATIONS, PARAMETER_EXAMPLES
from shared.setting_problems import SettingsInvalid
from shared.settings import read_settings
from tests.functions.host.test_conformance import HOSTS, running
from tests.tools.stack import CHAIN_KEY, PRIVACY_KEY, Stack, await_port, free_port

ROOT = Path(__file__).resolve().parents[3]
VAULT = "https://books.vault.azure.net"
EXAMPLE = ROOT / "local.settings.json.example"
SECRETS = ("AUDIT_CHAIN_KEY", "ADMIN_API_KEY", "TALLYGATE_STORAGE_ACCOUNT_KEY", "AZURE_OPENAI_API_KEY")
REFERENCE = "@Microsoft.KeyVault(SecretUri=https://books.vault.azure.net/secrets/admin-key)"
UNFINISHED = [
    REFERENCE, REFERENCE.lower(), REFERENCE.upper(), f" {REFERENCE} ", f'"{REFERENCE}"', REFERENCE.replace("(", " ("),
    "@Microsoft . KeyVault(VaultName=books;SecretName=admin-key)",
    "@Microsoft.AppConfiguration(Endpoint=https://x; Key=y)",
    "REPLACE-WITH-AT-LEAST-32-RANDOM-CHARACTERS", "replace_with_at_least_32_random_characters",
    "change-me-change-me-change-me-change-me", "YOUR-SECRET-OF-AT-LEAST-32-CHARACTERS",
    "<a random value of at least 32 characters>", "${ADMIN_API_KEY_FROM_THE_KEY_VAULT}",
    "$(AdminApiKeyFromTheVariableGroup)",
    "{{ admin_api_key_from_the_values_file }}", "#{AdminApiKeyFromTheVariableGroup}#",
    "%ADMIN_API_KEY_FROM_THE_KEY_VAULT%",
    "__ADMIN_API_KEY_FROM_THE_KEY_VAULT__",
    "keyvaultref:https://books.vault.azure.net/secrets/admin-key,identityref:system",
    "secretref:the-key-of-the-administrator",
    "@appsetting('ADMIN_API_KEY_FROM_THE_VAULT')",
]  # fmt: skip


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway without an account, whose settings are right."""
    monkeypatch.setenv("TALLYGATE_STORAGE", "memory")
    monkeypatch.setenv("AUDIT_CHAIN_KEY", CHAIN_KEY)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("text", UNFINISHED)
def test_a_secret_that_nobody_finished_is_refused_and_not_shown(
    memory: None, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv("TALLYGATE_STORAGE_ACCOUNT_NAME", "x")
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingsInvalid, match=f"{name} is a (reference|placeholder)") as raised:
        read_settings()
    assert text.strip(' "') not in str(raised.value)


@pytest.mark.parametrize("text", ["x" * 40, "*" * 40, "TODO" * 10, "0123456" * 10])
def test_a_secret_that_can_be_guessed_is_refused(memory: None, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    for name in SECRETS[:2]:
        monkeypatch.setenv(name, text)
    with pytest.raises(
        SettingsInvalid, match=r"AUDIT_CHAIN_KEY .* 8 different .*; ADMIN_API_KEY .* 8 different"
    ) as raised:
        read_settings()
    assert text not in str(raised.value)


@pytest.mark.parametrize("text", ["key\n", " key", "k\u00e9y", "k\x1by"])
def test_a_key_for_backends_that_no_header_can_hold_is_refused(
    memory: None, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", text)
    with pytest.raises(SettingsInvalid, match="AZURE_OPENAI_API_KEY must be printable ASCII"):
        read_settings()


async def test_an_unresolved_reference_opens_nothing(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await close_current_gateway()
    monkeypatch.setenv("ADMIN_API_KEY", REFERENCE)
    for path in ("/manage/tenants", "/readyz", "/nothing", "/me"):
        async with stack.session.get(stack.url + path, headers={"api-key": REFERENCE}) as answer:
            error = (await answer.json())["error"]
            assert (answer.status, error["code"], answer.headers["x-should-retry"]) == (503, "misconfigured", "false")
            assert "ADMIN_API_KEY is a reference" in error["message"]
            assert error["message"].endswith(f"(request id: {answer.headers['x-gateway-request-id']})")
            assert "vault.azure.net" not in await answer.text()


@pytest.mark.parametrize("name", HOSTS)
async def test_a_gateway_with_wrong_settings_starts_and_every_route_names_them(name: str, tmp_path: Path) -> None:
    wrong = {
        "TALLYGATE_TABLE_ENDPOINT": "http://tables.internal/word-1",
        "TALLYGATE_BLOB_ENDPOINT": "",
        "AUDIT_CHAIN_KEY": REFERENCE,
        "MAX_ATTEMPTS": "word-2",
    }
    async with running(name, wrong, tmp_path) as (url, log), aiohttp.ClientSession() as session:
        at_start = log.read_text()
        for operation in OPERATIONS:
            path = operation.path.format_map(PARAMETER_EXAMPLES)
            async with session.request(operation.method, url + path) as answer:
                body = await answer.text()
            if operation.path in ("/healthz", "/reference", "/reference/openapi.json"):
                assert answer.status == 200
                continue
            assert (answer.status, json.loads(body)["error"]["code"]) == (503, "misconfigured"), path
            assert [each for each in wrong if each not in body] == []
            assert "word-" not in body
            assert "vault.azure.net" not in body
    assert [each for each in wrong if each not in at_start] == []
    assert " ERROR tallygate: gateway.misconfigured " in at_start
    assert "word-" not in log.read_text()


@pytest.fixture
def example(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The values of the example file over a running Azurite: as they are, but for the ports and the data folder."""
    values = load_local_settings(EXAMPLE.read_text())
    ports = AzuritePorts(free_port(), free_port(), free_port())
    for default, port in (("10000", ports.blob), ("10002", ports.table)):
        for name, text in values.items():
            values[name] = text.replace(f":{default}/", f":{port}/")
    environment = {key: text for key, text in os.environ.items() if key != "AZURITE_ACCOUNTS"}
    with (tmp_path / "azurite.log").open("wb") as log:
        process = subprocess.Popen(azurite_command(ports, None), env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        await_port(ports.table, process)
        await_port(ports.blob, process)
        yield {**values, "TALLYGATE_DATA": str(tmp_path / "data")}
    finally:
        process.terminate()
        process.wait()


async def test_the_example_works_verbatim_and_its_generated_secrets_are_named_at_start(
    example: dict[str, str], tmp_path: Path
) -> None:
    keys = []
    for _ in range(2):
        async with running(HOSTS[0], {"AZURE_OPENAI_API_KEY": "", **example}, tmp_path) as (url, log):
            (file,) = re.findall(
                r"AUDIT_CHAIN_KEY and ADMIN_API_KEY are not set: those in (\S+) are used", log.read_text()
            )
            assert file == str(tmp_path / "data" / FILE_NAME)
            assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600
            keys.append(json.loads(Path(file).read_text())["ADMIN_API_KEY"])
            assert keys[0] not in log.read_text()
            async with aiohttp.ClientSession() as session:
                for key, status in ((keys[0], 200), ("", 401)):
                    async with session.get(f"{url}/manage/tenants", headers={"api-key": key}) as answer:
                        assert answer.status == status, await answer.text()
    assert keys[0] == keys[1]


LOOPBACK = {
    "TALLYGATE_STORAGE": "tables",
    "TALLYGATE_TABLE_ENDPOINT": "http://127.0.0.1:1/x",
    "TALLYGATE_BLOB_ENDPOINT": "http://127.0.0.1:1/x",
    "TALLYGATE_STORAGE_ACCOUNT_NAME": "x",
    "TALLYGATE_STORAGE_ACCOUNT_KEY": "a2V5",
    "AUDIT_CHAIN_KEY": "",
    "ADMIN_API_KEY": "",
}


@pytest.fixture
def laptop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Settings of a gateway on a laptop, without secrets. Returns the path of the file that will have them."""
    for name, text in {**LOOPBACK, "TALLYGATE_DATA": str(tmp_path / "data")}.items():
        monkeypatch.setenv(name, text)
    return tmp_path / "data" / FILE_NAME


async def test_processes_that_start_at_once_get_the_same_secrets(laptop: Path) -> None:
    script = "from shared.settings import read_settings as r; print(r(generate=True).admin_api_key.get_secret_value())"
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        for _ in range(6)
    ]
    printed = {(await process.communicate())[0] for process in started}
    assert printed == {json.loads(laptop.read_text())["ADMIN_API_KEY"].encode() + b"\n"}
    assert {path.name for path in laptop.parent.iterdir()} == {FILE_NAME, KEY_FILE_NAME, PRIVACY_FILE_NAME}
    assert stat.S_IMODE(laptop.parent.stat().st_mode) == 0o700


def test_a_process_that_loses_the_race_takes_the_secrets_of_the_winner(
    laptop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read_settings(generate=True)
    monkeypatch.setattr(Path, "exists", lambda _: False)  # the loser looked before the winner had linked its file
    assert read_settings(generate=True) == settings
    assert {path.name for path in laptop.parent.iterdir()} == {FILE_NAME, KEY_FILE_NAME, PRIVACY_FILE_NAME}


def test_a_generated_chain_key_stays_known_when_a_new_version_signs(
    laptop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generated = read_settings(generate=True).chain_keys["0"]
    monkeypatch.setenv("AUDIT_CHAIN_KEYS", f"1={CHAIN_KEY}")
    monkeypatch.setenv("AUDIT_CHAIN_KEY_VERSION", "1")
    settings = read_settings()
    assert settings.chain_keys == {"0": generated, "1": CHAIN_KEY.encode()}
    assert settings.audit_chain_key_version == "1"


def test_a_laptop_gets_a_key_that_signs_anchors_for_its_owner_alone(laptop: Path) -> None:
    key = laptop.with_name(KEY_FILE_NAME)
    assert read_settings(generate=True).audit_signing_key_file == str(key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    content = key.read_bytes()
    read_settings(generate=True)
    assert key.read_bytes() == content
    key.unlink()
    assert read_settings().audit_signing_key_file == ""


def test_no_key_is_generated_beside_one_that_is_named(laptop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_SIGNING_KEY_FILE", "own.pem")
    monkeypatch.setenv("PRIVACY_KEY", PRIVACY_KEY)
    settings = read_settings(generate=True)
    assert (settings.audit_signing_key_file, settings.privacy_key.get_secret_value()) == ("own.pem", PRIVACY_KEY)
    assert [path.name for path in laptop.parent.iterdir()] == [FILE_NAME]


def test_a_laptop_gets_a_privacy_key_beside_the_secrets_of_earlier_versions(laptop: Path) -> None:
    read_settings(generate=True)
    file = laptop.with_name(PRIVACY_FILE_NAME)
    file.unlink()
    assert read_settings().privacy_key.get_secret_value() == ""
    key = read_settings(generate=True).privacy_key.get_secret_value()
    assert len(key) == 43
    assert read_settings().privacy_key.get_secret_value() == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.unlink()
    file.mkdir()
    with pytest.raises(SettingsInvalid, match=PRIVACY_FILE_NAME):
        read_settings()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"PRIVACY_KEY": "short"}, "PRIVACY_KEY must have at least 32"),
        ({"PRIVACY_KEY": CHAIN_KEY, "AUDIT_CHAIN_KEY": CHAIN_KEY}, "PRIVACY_KEY must be another key"),
        (
            {"PRIVACY_KEY": PRIVACY_KEY, "AUDIT_CHAIN_KEYS": f"1={PRIVACY_KEY}", "AUDIT_CHAIN_KEY_VERSION": "1"},
            "PRIVACY_KEY must be another key",
        ),
        ({"PRIVACY_KEY_SECRET_NAME": "privacy"}, "PRIVACY_KEY_SECRET_NAME needs AZURE_KEY_VAULT_URL"),
        (
            {"PRIVACY_KEY_SECRET_NAME": "p", "PRIVACY_KEY": PRIVACY_KEY, "AZURE_KEY_VAULT_URL": VAULT},
            "PRIVACY_KEY contradicts PRIVACY_KEY_SECRET_NAME",
        ),
        (
            {"PRIVACY_KEY_SECRET_NAME": "C", "AUDIT_CHAIN_KEY_SECRET_NAME": "c", "AZURE_KEY_VAULT_URL": VAULT},
            "PRIVACY_KEY_SECRET_NAME must be another secret",
        ),
    ],
)
def test_a_privacy_key_is_a_secret_of_its_own(
    laptop: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    told: str,
) -> None:
    for name, text in changes.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(SettingsInvalid) as raised:
        read_settings()
    assert told in str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"TALLYGATE_TABLE_ENDPOINT": "https://x.table.core.windows.net"},
        {"TALLYGATE_TABLE_ENDPOINT": "http://127.0.0.1.evil.example:10002/x"},
        {"TALLYGATE_TABLE_ENDPOINT": ""},
        {"TALLYGATE_STORAGE": "memory"},
        {"ADMIN_API_KEY": CHAIN_KEY},
    ],
)
def test_no_secret_is_generated_unless_both_are_empty_and_the_tables_are_on_this_machine(
    laptop: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]
) -> None:
    read_settings(generate=True)
    for name, text in changes.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(SettingsInvalid, match="AUDIT_CHAIN_KEY must have"):
        read_settings(generate=True)


def test_the_command_line_generates_no_secrets_but_takes_those_of_the_gateway(laptop: Path) -> None:
    with pytest.raises(SettingsInvalid, match="AUDIT_CHAIN_KEY must have"):
        read_settings()
    assert not laptop.exists()
    assert read_settings(generate=True) == read_settings()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"AUDIT_CHAIN_KEY": "x"}', "\udcff"])
def test_a_damaged_file_is_named_and_not_replaced(laptop: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    laptop.parent.mkdir()
    laptop.write_bytes(text.encode("utf-8", "surrogateescape"))
    check_settings()
    assert f"{laptop} is damaged; remove it" in caplog.text
    assert laptop.read_bytes() == text.encode("utf-8", "surrogateescape")


def test_a_folder_that_cannot_be_used_is_named(laptop: Path, caplog: pytest.LogCaptureFixture) -> None:
    laptop.parent.write_text("not a folder")
    check_settings()
    assert f"{laptop} cannot be used: " in caplog.text
