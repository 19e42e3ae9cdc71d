"""Settings of alerts: where they may be sent, and when they are raised."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from shared.domain.pricing.money import pusd_from_usd
from shared.domain.routing.endpoints import is_host_suffix
from shared.setting_rules import listed, refuse

MAX_THRESHOLD = 200
"""The highest threshold, in percent: a limit can be exceeded by what was under way."""


class AlertSettings(BaseSettings):
    """A part of `Settings`."""

    alert_host_suffixes: str = ".logic.azure.com,.api.powerplatform.com,.slack.com"
    """The hosts of webhooks, of workflows of Teams and of Slack."""
    alert_event_grid_host_suffixes: str = ".eventgrid.azure.net,.eventgrid.azure.us,.eventgrid.azure.cn"
    """The hosts of topics. They get a token of the gateway's identity."""
    alert_allow_private_addresses: bool = False
    """Webhooks may have addresses of private networks."""
    alert_event_grid_endpoint: str = ""
    """A topic that gets all alerts: a sink of the platform, named `settings`."""
    alert_secrets: SecretStr = SecretStr("")
    """Addresses and signing secrets by name, as a JSON object: for laptops, which have no vault."""
    alert_runbook_url: str = ""
    """The page that messages link to, with a section for each kind of alerts."""
    alert_thresholds: str = "50,80,100"
    """Percent of quota and budget at which tenants that state none are told of, and of the platform's limits."""
    platform_monthly_budget_usd: str = ""
    """The dollars of all tenants in a month that alerts compare with. Nothing is refused because of it."""
    platform_monthly_quota_tokens: int | None = Field(default=None, gt=0)
    """The tokens of all tenants in a month that alerts compare with."""
    alert_anomaly_floor_usd: str = "10"
    """A tenant's day that costs less is no anomaly."""
    alert_retention_days: int = Field(default=400, ge=62)
    """The time for which events are kept after they were handed to the sinks."""

    @property
    def stated_alert_secrets(self) -> Mapping[str, str]:
        """The secrets of sinks that the settings state, by name."""
        text = self.alert_secrets.get_secret_value()
        stated: dict[str, str] = json.loads(text) if text else {}
        return stated

    @property
    def default_thresholds(self) -> tuple[int, ...]:
        """The thresholds in percent, ascending."""
        return tuple(sorted(map(int, listed(self.alert_thresholds))))

    @field_validator("alert_host_suffixes", "alert_event_grid_host_suffixes")
    @classmethod
    def _are_hosts(cls, text: str) -> str:
        if not all(map(is_host_suffix, listed(text))):
            refuse("must hold suffixes that begin with a dot and end in a name, such as .example.com")
        return text

    @field_validator("alert_secrets")
    @classmethod
    def _are_named_texts(cls, secret: SecretStr) -> SecretStr:
        if text := secret.get_secret_value():
            try:
                stated = json.loads(text)
            except ValueError:
                stated = None
            if not isinstance(stated, dict) or not all(isinstance(each, str) for each in stated.values()):
                refuse('must be a JSON object of texts, such as {"ops-address": "https://..."}')
        return secret

    @field_validator("alert_thresholds")
    @classmethod
    def _are_percentages(cls, text: str) -> str:
        for each in listed(text):
            if not (each.isascii() and each.isdigit() and 1 <= int(each) <= MAX_THRESHOLD):
                refuse(f"must hold numbers from 1 to {MAX_THRESHOLD}, such as 50,80,100")
        return text

    @field_validator("platform_monthly_budget_usd", "alert_anomaly_floor_usd")
    @classmethod
    def _is_usd(cls, text: str, info: ValidationInfo) -> str:
        if text or info.field_name == "alert_anomaly_floor_usd":
            try:
                pusd_from_usd(text)
            except ValueError:
                refuse("must be an amount of dollars, such as 1000.00")
        return text

    @field_validator("alert_runbook_url")
    @classmethod
    def _is_link(cls, url: str) -> str:
        if url and (not url.startswith("https://") or not url.isprintable() or set(url) & set(' "<>#')):
            refuse("must be an https URL without a fragment")
        return url
