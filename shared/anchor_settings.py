"""Settings of anchors: the keys that sign them, the name of their log, and its witnesses."""

from __future__ import annotations

from pydantic import SecretStr, ValidationInfo, field_validator

from shared.domain.audit.signed_note import is_key_name
from shared.setting_rules import endpoint_problem, refuse, secret_name_problem, webhook_problem
from shared.vault_settings import VaultSettings


class AnchorSettings(VaultSettings):
    """A part of `Settings`, which validates these fields after those of the vault."""

    audit_signing_key_name: str = ""
    """The key of the vault that signs checkpoints."""
    audit_signing_key_file: str = ""
    """A PEM file with the key that signs checkpoints, for laptops. If empty, nothing is anchored."""
    audit_anchor_origin: str = ""
    """The name of the log; by default that of the storage account."""
    audit_witness_container_url: str = ""
    """A container, of another account, that gets a copy of every file of the log."""
    audit_witness_url: SecretStr = SecretStr("")
    """An address that gets each checkpoint by POST."""

    @field_validator("audit_signing_key_name")
    @classmethod
    def _is_key(cls, name: str, info: ValidationInfo) -> str:
        if name and secret_name_problem(name):
            raise ValueError("must be the name of a key: letters, digits and hyphens")
        if name and info.data.get("azure_key_vault_url") == "":
            raise ValueError("needs AZURE_KEY_VAULT_URL")
        return name

    @field_validator("audit_signing_key_file")
    @classmethod
    def _is_only_key(cls, path: str, info: ValidationInfo) -> str:
        if path and info.data.get("audit_signing_key_name"):
            raise ValueError("and AUDIT_SIGNING_KEY_NAME exclude each other")
        return path

    @field_validator("audit_anchor_origin")
    @classmethod
    def _is_origin(cls, origin: str) -> str:
        if origin and not is_key_name(origin):
            raise ValueError("must be a name without blanks and plus signs, such as example.com/gateway")
        return origin

    @field_validator("audit_witness_container_url")
    @classmethod
    def _is_container(cls, url: str) -> str:
        if url:
            endpoint, _, container = url.rpartition("/")
            problem = endpoint_problem(endpoint)
            if problem or not container:
                raise ValueError(
                    "must be the https URL of a container: https://ACCOUNT.blob.core.windows.net/CONTAINER"
                )
        return url

    @field_validator("audit_witness_url")
    @classmethod
    def _is_webhook(cls, secret: SecretStr) -> SecretStr:
        if url := secret.get_secret_value():
            refuse(webhook_problem(url))
        return secret
