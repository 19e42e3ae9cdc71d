"""Settings of alerts: what they mean, and which values are refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shared.alert_settings import AlertSettings


def test_without_settings_there_are_defaults() -> None:
    settings = AlertSettings()
    assert settings.default_thresholds == (50, 80, 100)
    assert settings.stated_alert_secrets == {}


def test_values_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = {
        "ALERT_THRESHOLDS": "90, 75",
        "ALERT_SECRETS": '{"ops": "https://hooks.slack.com/SECRET"}',
        "ALERT_RUNBOOK_URL": "https://docs.example/runbook",
        "PLATFORM_MONTHLY_BUDGET_USD": "1000.50",
        "ALERT_HOST_SUFFIXES": ".example.com",
    }
    for name, text in stated.items():
        monkeypatch.setenv(name, text)
    settings = AlertSettings()
    assert settings.default_thresholds == (75, 90)
    assert settings.stated_alert_secrets == {"ops": "https://hooks.slack.com/SECRET"}
    assert "SECRET" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ALERT_THRESHOLDS", "0"),
        ("ALERT_THRESHOLDS", "50,201"),
        ("ALERT_THRESHOLDS", "half"),
        ("ALERT_SECRETS", "SECRET"),
        ("ALERT_SECRETS", '["SECRET"]'),
        ("ALERT_SECRETS", '{"SECRET": 1}'),
        ("ALERT_HOST_SUFFIXES", "example.com"),
        ("ALERT_EVENT_GRID_HOST_SUFFIXES", "."),
        ("PLATFORM_MONTHLY_BUDGET_USD", "much"),
        ("ALERT_ANOMALY_FLOOR_USD", ""),
        ("ALERT_RUNBOOK_URL", "http://docs.example/"),
        ("ALERT_RUNBOOK_URL", "https://docs.example/#part"),
        ("ALERT_RETENTION_DAYS", "61"),
    ],
)
def test_other_values_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ValidationError, match=name.lower()):
        AlertSettings()
