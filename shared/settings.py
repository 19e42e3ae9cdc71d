"""Settings of the gateway, read once from the environment. Reference: docs/reference/configuration.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from shared.alert_settings import AlertSettings
from shared.anchor_settings import AnchorSettings
from shared.audit_settings import AuditSettings
from shared.domain.routing.endpoints import is_host_suffix
from shared.entra_setting_rules import ENTRA_RULES
from shared.export_settings import FROM_ENVIRONMENT, ExportSettings
from shared.first_backend_settings import FirstBackendSettings
from shared.function_timeout import function_timeout_seconds
from shared.generated_secrets import NAMES, SecretsUnusable, generated_privacy_key, generated_secrets
from shared.privacy_settings import PrivacySettings
from shared.setting_problems import SettingsInvalid
from shared.setting_rules import (
    account_key_problem,
    admin_key_problem,
    endpoint_problem,
    header_problem,
    is_loopback,
)
from shared.setting_rules import listed as listed  # for those who read settings
from shared.setting_rules import refuse as _refuse

_REQUEST_SECONDS: Final = (
    "queue_timeout_seconds",
    "failover_timeout_seconds",
    "backend_total_timeout_seconds",
    "client_stall_timeout_seconds",
)
"""The settings whose sum is the longest time of a request."""
SLICES_OF_A_TIMER: Final = 4
"""A timer's run sweeps at most twice, and a sweep takes at most two slices."""
_STATED_SECRETS: Final = (*NAMES, *(f"{name}_secret_name" for name in NAMES))
"""If any of these settings is set, no secret is generated."""
_CALLS_HOME: Final = (
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED",
)
_ROOT: Final = Path(__file__).resolve().parents[1]


class Settings(
    ExportSettings,
    PrivacySettings,
    AnchorSettings,
    AuditSettings,
    AlertSettings,
    FirstBackendSettings,
):
    """All settings. A field has the name of its environment variable in lower case. Secrets are masked when shown."""

    model_config = FROM_ENVIRONMENT

    tallygate_storage: Literal["tables", "memory"] = "tables"
    """`memory` keeps everything in the process, for benches and trials. Never use it in production."""
    tallygate_storage_account_key: SecretStr = SecretStr("")
    """Only for an account without identities, such as an emulator. If empty, the gateway's identity is used."""
    tallygate_storage_account_name: str = ""
    tallygate_table_endpoint: str = ""
    tallygate_blob_endpoint: str = ""
    admin_api_key: SecretStr = SecretStr("")
    """Management key for the first steps; at least 32 characters. If empty, there is none."""
    admin_api_key_enabled: bool = True
    """`false` refuses the management key, wherever its value is kept."""

    azure_openai_api_key: SecretStr = SecretStr("")
    """Key for the backends whose `auth` is `api_key` and that name no secret. Where set, it goes before the vault's."""

    entra_tenant_ids: str = ""
    """The directories whose access tokens are accepted. If empty, no token is."""
    entra_client_id: str = ""
    """The application of Entra that stands for the gateway."""
    entra_authority: str = "https://login.microsoftonline.com"
    entra_audiences: str = ""
    """Names of the gateway in tokens, beside its client id and `api://{client id}`."""
    entra_legacy_audiences: str = ""
    """Names of other services of Azure whose tokens are accepted for inference, without roles and groups."""
    entra_scopes: str = "user_impersonation"
    """A person's token must have one of these."""

    backend_host_suffixes: str = ".openai.azure.com,.cognitiveservices.azure.com,.services.ai.azure.com"
    allow_loopback_backends: bool = False
    allowed_regions: str = ""
    """Regions that backends may have in addition to those that the gateway knows; so the following ones."""
    allowed_skus: str = ""
    allowed_zones: str = ""
    allowed_token_scopes: str = ""
    allowed_authorities: str = ""
    trusted_proxy_hops: int = Field(default=0, ge=0, le=10)
    """The proxies before the gateway that append to `X-Forwarded-For`; 0 takes the address of the peer."""
    max_body_bytes: int = Field(default=20 * 1024 * 1024, gt=0)
    body_budget_bytes: int = Field(default=256 * 1024 * 1024, gt=0)
    """Memory for all large bodies of this process. A tenant may take as much as it leaves free."""
    body_timeout_seconds: float = Field(default=120, gt=0)
    """The longest time in which a body must arrive."""
    min_body_bytes_per_second: float = Field(default=1024, gt=0)
    """The lowest rate at which a body may arrive, after ten seconds."""
    max_body_elements: int = Field(default=100_000, gt=0)
    """The most objects, arrays and members of objects in a JSON body."""
    max_body_values: int = Field(default=1_000_000, gt=0)
    """The most values in a JSON body."""
    backend_connect_timeout_seconds: float = Field(default=5, gt=0)
    backend_head_timeout_seconds: float = Field(default=200, gt=0)
    backend_idle_timeout_seconds: float = Field(default=60, gt=0)
    backend_total_timeout_seconds: float = Field(default=900, gt=0)
    max_answer_bytes: int = Field(default=64 * 1024 * 1024, gt=0)
    """The largest answer in one piece."""
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
    function_timeout: str = Field(default="", validation_alias="AzureFunctionsJobHost__functionTimeout")
    """The setting by which the Functions host overrides `functionTimeout` of host.json; empty if it does not."""

    # Validators of fields run for every field, so that all problems are told at once. A field may look at those
    # before it, in the order of the class.

    @field_validator("tallygate_storage_account_key")
    @classmethod
    def _is_account_key(cls, key: SecretStr) -> SecretStr:
        _refuse(account_key_problem(key.get_secret_value()))
        return key

    @field_validator("tallygate_storage_account_name")
    @classmethod
    def _names_the_account(cls, name: str, info: ValidationInfo) -> str:
        if info.data.get("tallygate_storage_account_key", True) and not name:
            _refuse("is required with TALLYGATE_STORAGE_ACCOUNT_KEY")
        return name

    @field_validator("tallygate_table_endpoint", "tallygate_blob_endpoint")
    @classmethod
    def _is_endpoint(cls, endpoint: str, info: ValidationInfo) -> str:
        if info.data.get("tallygate_storage") == "memory":
            return endpoint
        if not endpoint:
            _refuse("is required unless TALLYGATE_STORAGE is memory")
        _refuse(endpoint_problem(endpoint))
        key = info.data.get("tallygate_storage_account_key")
        if endpoint.lower().startswith("http:") and key is not None and not key.get_secret_value():
            _refuse("must be https unless TALLYGATE_STORAGE_ACCOUNT_KEY is set")
        return endpoint

    @field_validator("admin_api_key")
    @classmethod
    def _is_admin_key(cls, key: SecretStr, info: ValidationInfo) -> SecretStr:
        if text := key.get_secret_value():
            _refuse(admin_key_problem(text))
            if info.data.get("admin_api_key_secret_name"):
                _refuse("contradicts ADMIN_API_KEY_SECRET_NAME; set one of them")
        return key

    @field_validator("azure_openai_api_key")
    @classmethod
    def _is_sendable(cls, key: SecretStr) -> SecretStr:
        _refuse(header_problem(key.get_secret_value()))
        return key

    @field_validator(*ENTRA_RULES)
    @classmethod
    def _is_of_entra(cls, text: str, info: ValidationInfo) -> str:
        _refuse(ENTRA_RULES[str(info.field_name)](text))
        if info.field_name == "entra_client_id" and bool(text) is not bool(info.data.get("entra_tenant_ids", text)):
            _refuse("and ENTRA_TENANT_IDS require each other")
        return text

    @field_validator("body_budget_bytes")
    @classmethod
    def _holds_bodies(cls, budget: int, info: ValidationInfo) -> int:
        if budget < 2 * info.data.get("max_body_bytes", 0):
            _refuse("must be at least twice MAX_BODY_BYTES")
        return budget

    @field_validator("backend_host_suffixes")
    @classmethod
    def _are_suffixes(cls, text: str) -> str:
        if not all(map(is_host_suffix, listed(text))):
            _refuse("must hold suffixes that begin with a dot and end in a name, such as .openai.azure.com")
        return text

    @field_validator("function_timeout")
    @classmethod
    def _is_longest(cls, text: str, info: ValidationInfo) -> str:
        """Refuse a timeout within which the host would end a request or a timer that the gateway still allows."""
        seconds = function_timeout_seconds(text)
        for names, factor in ((_REQUEST_SECONDS, 1), (("timer_slice_seconds",), SLICES_OF_A_TIMER)):
            needed = factor * sum(info.data.get(name, 0) for name in names)
            if seconds <= needed:
                parts = " + ".join(map(str.upper, names))
                times = f"{factor} x " if factor > 1 else ""
                _refuse(f"(or functionTimeout in host.json) must exceed {needed:g} s: {times}{parts}")
        return text


def read_settings(*, generate: bool = False) -> Settings:
    """Read the settings from the environment of this process. Raises `SettingsInvalid`, which tells all problems.

    Where the table endpoint is on this machine and neither secret is set, those that were generated are used.
    `generate` makes them at the first time.
    """
    try:
        return Settings(**_generated(generate=generate))
    except ValidationError as error:
        raise SettingsInvalid([_told(problem) for problem in error.errors(include_input=False)]) from None
    except SecretsUnusable as error:
        raise SettingsInvalid([str(error)]) from None


def quiet_exporters() -> None:
    """Let exporters of Azure Monitor send nothing but telemetry of the gateway, unless the environment says so.

    They would call home about themselves, and ask Microsoft's control plane for their configuration.
    """
    for name in _CALLS_HOME:
        os.environ.setdefault(name, "true")
    os.environ.setdefault("OTEL_METRICS_EXPORTER", "none")  # the gateway exports its metrics itself


def _generated(*, generate: bool) -> dict[str, Any]:
    """Return generated secrets by field, if the environment asks for them."""
    named = {name.lower(): text for name, text in os.environ.items()}
    endpoint = named.get("tallygate_table_endpoint", "")
    is_memory = named.get("tallygate_storage", "").lower() == "memory"
    if is_memory or not is_loopback(endpoint) or any(named.get(name) for name in _STATED_SECRETS):
        return {}
    folder = _ROOT / (named.get("tallygate_data") or ".local")
    has_key = any(named.get(name) for name in ("audit_signing_key_file", "audit_signing_key_name"))
    found = generated_secrets(folder, generate=generate, with_key=not has_key)
    has_privacy_key = any(named.get(name) for name in ("privacy_key", "privacy_key_secret_name"))
    return {**found, **(generated_privacy_key(folder, generate=generate) if found and not has_privacy_key else {})}


def _told(problem: ErrorDetails) -> str:
    """Tell a problem in words that begin with the name of the variable."""
    name = ".".join(map(str, problem["loc"])).upper()
    is_ours = problem["type"] == "value_error"
    return f"{name} {problem['msg'].removeprefix('Value error, ')}" if is_ours else f"{name}: {problem['msg']}"
