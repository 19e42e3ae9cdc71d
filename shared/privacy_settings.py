"""Settings of the privacy of users."""

from __future__ import annotations

from pydantic import SecretStr, ValidationInfo, field_validator

from shared.chain_key_settings import ChainKeySettings
from shared.setting_rules import refuse, secret_problem


class PrivacySettings(ChainKeySettings):
    """A part of `Settings`."""

    privacy_key: SecretStr = SecretStr("")
    """Key of pseudonyms and of hashed prompts; at least 32 characters. Empty if no tenant may ask for them."""

    @field_validator("privacy_key")
    @classmethod
    def _is_privacy_key(cls, key: SecretStr, info: ValidationInfo) -> SecretStr:
        """Refuse the chain key: whoever verifies the ledger could test names of users."""
        if text := key.get_secret_value():
            refuse(secret_problem(text))
            if info.data.get("privacy_key_secret_name"):
                refuse("contradicts PRIVACY_KEY_SECRET_NAME; set one of them")
            chain_keys = (info.data.get(name, SecretStr("")) for name in ("audit_chain_key", "audit_chain_keys"))
            if any(text in each.get_secret_value() for each in chain_keys):
                refuse("must be another key than that of the chain")
        return key
