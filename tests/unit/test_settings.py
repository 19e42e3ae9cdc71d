"""Wrong settings fail at the start. The error names the variable and shows no value."""

from __future__ import annotations

import pytest

from shared.settings import SettingsInvalid, read_settings

GOOD = {"TALLYGATE_TABLE_ENDPOINT": "https://x.table.core.windows.net", "AUDIT_CHAIN_KEY": "c" * 32}


def read(monkeypatch: pytest.MonkeyPatch, **changes: str) -> object:
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
        ({"MAX_BODY_BYTES": "0"}, "MAX_BODY_BYTES"),
        ({"DRAIN_TIMEOUT_SECONDS": "short-secret"}, "DRAIN_TIMEOUT_SECONDS"),
        ({"TALLYGATE_STORAGE": "short-secret"}, "TALLYGATE_STORAGE"),
    ],
)
def test_each_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsInvalid, match=message) as raised:
        read(monkeypatch, **changes)
    assert "short-secret" not in str(raised.value)


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "s" * 40
    settings = read(
        monkeypatch,
        AUDIT_CHAIN_KEY=secret,
        ADMIN_API_KEY=secret,
        AZURE_OPENAI_API_KEY=secret,
        TALLYGATE_STORAGE_ACCOUNT_KEY=secret,
        TALLYGATE_STORAGE_ACCOUNT_NAME="x",
    )
    assert secret not in f"{settings!r} {settings}"
