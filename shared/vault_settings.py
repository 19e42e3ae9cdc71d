"""Settings of the key vault, and the names of the secrets in it."""

from __future__ import annotations

from pydantic import ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from shared.domain.routing.endpoints import is_host_suffix
from shared.setting_rules import listed, refuse, secret_name_problem, vault_problem


class VaultSettings(BaseSettings):
    """A part of `Settings`, which validates these fields first."""

    key_vault_host_suffixes: str = ".vault.azure.net,.vault.azure.cn,.vault.usgovcloudapi.net"
    azure_key_vault_url: str = ""
    """The vault of the secrets. If empty, the settings themselves state their values."""
    azure_openai_api_key_secret_name: str = "azure-openai-api-key"
    """The secret for the backends whose `auth` is `api_key` and that name none of their own."""
    admin_api_key_secret_name: str = ""
    """The secret that holds the management key, in place of `ADMIN_API_KEY`."""
    audit_chain_key_secret_name: str = ""
    """The secret that holds the key of ledger entries. All its versions verify, and the newest signs."""
    privacy_key_secret_name: str = ""
    """The secret that holds the key of pseudonyms and of hashed prompts, in place of `PRIVACY_KEY`."""
    audit_witness_url_secret_name: str = ""
    """The secret that holds the address of the witness behind a webhook, in place of `AUDIT_WITNESS_URL`."""

    @field_validator("key_vault_host_suffixes")
    @classmethod
    def _are_vaults(cls, text: str) -> str:
        if not all(map(is_host_suffix, listed(text))):
            refuse("must hold suffixes that begin with a dot and end in a name, such as .vault.azure.net")
        return text

    @field_validator("azure_key_vault_url")
    @classmethod
    def _is_vault(cls, url: str, info: ValidationInfo) -> str:
        if url:
            refuse(vault_problem(url, listed(info.data.get("key_vault_host_suffixes", ""))))
        return url

    @field_validator(
        "azure_openai_api_key_secret_name",
        "admin_api_key_secret_name",
        "audit_chain_key_secret_name",
        "privacy_key_secret_name",
        "audit_witness_url_secret_name",
    )
    @classmethod
    def _is_in_the_vault(cls, name: str, info: ValidationInfo) -> str:
        if not name:
            return name
        refuse(secret_name_problem(name))
        is_stated = name != cls.model_fields[info.field_name or ""].default
        if is_stated and info.data.get("azure_key_vault_url") == "":
            refuse("needs AZURE_KEY_VAULT_URL")
        return name

    @field_validator("privacy_key_secret_name")
    @classmethod
    def _is_no_chain_key(cls, name: str, info: ValidationInfo) -> str:
        """Refuse the chain key: whoever verifies the ledger could test names of users."""
        if name and name.lower() == info.data.get("audit_chain_key_secret_name", "").lower():
            refuse("must be another secret than AUDIT_CHAIN_KEY_SECRET_NAME")
        return name
