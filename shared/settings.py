"""Settings of the gateway, read once from the environment. Reference: docs/reference/configuration.md."""

from __future__ import annotations

import os
import socket
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsInvalid(Exception):
    """Settings are missing or wrong. The message names each variable, and never shows a value."""


class Settings(BaseSettings):
    """All settings. A field has the name of its environment variable in lower case. Secrets are masked when shown."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    tallygate_storage: Literal["tables", "memory"] = "tables"
    """`memory` keeps everything in the process, for benches and trials. Never use it in production."""
    tallygate_table_endpoint: str = ""
    tallygate_blob_endpoint: str = ""
    tallygate_storage_account_name: str = ""
    tallygate_storage_account_key: SecretStr = SecretStr("")
    """Only for an account without identities, such as an emulator. If empty, the gateway's identity is used."""
    audit_chain_key: SecretStr
    """Key of the HMAC that chains ledger entries; at least 32 characters."""
    admin_api_key: SecretStr = SecretStr("")
    """Management key for the first steps; at least 32 characters. If empty, there is none."""

    use_managed_identity: bool = True
    """`false` uses the identity of a developer (`DefaultAzureCredential`)."""
    azure_client_id: str = ""
    azure_openai_api_key: SecretStr = SecretStr("")
    """Key for the backends whose `auth` is `api_key`."""

    backend_host_suffixes: str = ".openai.azure.com,.cognitiveservices.azure.com,.services.ai.azure.com"
    allow_loopback_backends: bool = False
    trusted_proxy_hops: int = Field(default=0, ge=0, le=10)
    """The proxies before the gateway that append to `X-Forwarded-For`; 0 takes the address of the peer."""
    max_body_bytes: int = Field(default=20 * 1024 * 1024, gt=0)
    backend_connect_timeout_seconds: float = Field(default=5, gt=0)
    backend_head_timeout_seconds: float = Field(default=200, gt=0)
    backend_idle_timeout_seconds: float = Field(default=60, gt=0)
    backend_total_timeout_seconds: float = Field(default=900, gt=0)
    max_attempts: int = Field(default=4, gt=0)
    """The most attempts at one request."""
    failover_timeout_seconds: float = Field(default=220, gt=0)
    """The time after a request's first slot within which another attempt may begin, and answers must begin."""
    queue_timeout_seconds: float = Field(default=5, ge=0)
    """The longest wait of a request for a backend, or for its tenant's turn."""
    max_queued: int = Field(default=1000, ge=0)
    """The most requests that may wait for one pool of backends, or for the turn of one tenant."""
    backend_tenant_share: float = Field(default=0.9, gt=0, le=1)
    """The largest part of a backend's places (`max_concurrent_requests`) that one tenant may hold."""
    drain_timeout_seconds: float = Field(default=60, gt=0)
    """The longest time for which a stream is read on after its client has disconnected."""
    max_drains: int = Field(default=500, ge=0)
    """The most streams that are drained at the same time. Further ones are cut, and their usage is estimated."""
    keep_alive_seconds: float = Field(default=15, gt=0)
    """The silence after which a stream gets a comment, so that proxies keep its connection."""
    client_stall_timeout_seconds: float = Field(default=60, gt=0)
    """The longest time for which a caller may accept no byte of its answer, before it is cut off."""
    close_grace_hours: float = Field(default=48, ge=0)
    """The time after the end of a period for late settlements, before it is closed."""
    timer_slice_seconds: float = Field(default=120, gt=0)
    """The time after which a timer's run begins no further item. One more such time later it cuts off what is left."""
    website_instance_id: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        problems = []
        if self.tallygate_storage == "tables" and not self.tallygate_table_endpoint:
            problems.append("TALLYGATE_TABLE_ENDPOINT is required unless TALLYGATE_STORAGE is memory")
        if (
            self.tallygate_storage == "tables"
            and self.tallygate_table_endpoint.lower().startswith("http:")
            and not self.tallygate_storage_account_key.get_secret_value()
        ):
            problems.append("TALLYGATE_TABLE_ENDPOINT must be https unless TALLYGATE_STORAGE_ACCOUNT_KEY is set")
        if self.tallygate_storage_account_key.get_secret_value() and not self.tallygate_storage_account_name:
            problems.append("TALLYGATE_STORAGE_ACCOUNT_NAME is required with TALLYGATE_STORAGE_ACCOUNT_KEY")
        for name in ("audit_chain_key", "admin_api_key"):
            value = getattr(self, name).get_secret_value()
            if 0 < len(value) < 32 or (name == "audit_chain_key" and not value):
                problems.append(f"{name.upper()} must have at least 32 characters")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def host_suffixes(self) -> tuple[str, ...]:
        """The suffixes of `backend_host_suffixes`, which are separated by commas."""
        return tuple(suffix.strip() for suffix in self.backend_host_suffixes.split(",") if suffix.strip())


def read_settings() -> Settings:
    """Read the settings from the environment of this process. Raises `SettingsInvalid`."""
    try:
        return Settings()  # type: ignore[call-arg] # pydantic-settings fills it from the environment
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg']}" if problem["loc"] else problem["msg"]
            for problem in error.errors(include_input=False)
        )
        raise SettingsInvalid(f"Settings are incomplete or wrong: {problems}") from None
