"""Settings of logs, metrics, traces and the identity that exports them. Where others are wrong they are read alone."""

from __future__ import annotations

import os
import socket
from typing import Final

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict

from shared.setting_rules import refuse, unresolved_problem
from shared.telemetry_settings import TelemetrySettings
from shared.workload_identity_settings import WorkloadIdentitySettings

FROM_ENVIRONMENT: Final = SettingsConfigDict(
    frozen=True, extra="ignore", env_ignore_empty=True, validate_default=True, allow_inf_nan=False
)


class ExportSettings(TelemetrySettings, WorkloadIdentitySettings):
    """A part of `Settings`."""

    model_config = FROM_ENVIRONMENT

    use_managed_identity: bool = True
    """`false` uses the identity of a developer (`DefaultAzureCredential`)."""
    website_instance_id: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")

    @field_validator("*", mode="before")
    @classmethod
    def _is_resolved(cls, value: object) -> object:
        if isinstance(value, str):
            refuse(unresolved_problem(value))
        return value


def read_export_settings() -> ExportSettings | None:
    """Read these settings from the environment of this process; `None` if one of them is wrong."""
    try:
        return ExportSettings()
    except ValidationError:
        return None
