"""Open the secrets of one process: those that the settings state, and those of a key vault."""

from __future__ import annotations

from contextlib import AsyncExitStack

from shared.adapters.identity.credentials import CachedTokens
from shared.adapters.in_memory.secrets import StatedSecrets
from shared.adapters.key_vault.secrets import KeyVaultSecrets
from shared.adapters.key_vault.vault import Vault
from shared.application.ports.clock import Clock
from shared.application.ports.secrets import Secrets
from shared.domain.values import record
from shared.setting_rules import admin_key_problem, backend_key_problem, chain_key_problem, webhook_problem
from shared.settings import Settings

_STATED_BACKEND_KEY = "AZURE_OPENAI_API_KEY"
_STATED_ADMIN_KEY = "ADMIN_API_KEY"
_STATED_PRIVACY_KEY = "PRIVACY_KEY"
_STATED_WITNESS = "AUDIT_WITNESS_URL"
"""Names of stated secrets. No secret of a vault can have them, because they contain underscores."""


@record
class SecretNames:
    """The names under which the gateway finds its secrets."""

    backends: str
    """The key of the backends that name none of their own."""
    admin: str
    """The management key; empty if there is none."""
    chain: str
    """The key of ledger entries; empty if the settings state its versions."""

    privacy: str
    """The key of pseudonyms and of hashed prompts; empty if there is none."""
    witness: str
    """The address of the witness behind a webhook; empty if there is none."""

    @property
    def own(self) -> tuple[str, ...]:
        """The names of the secrets that prove or protect something of the gateway itself."""
        return (self.admin, self.chain, self.privacy, self.witness)

    def of_vault(self, settings: Settings) -> tuple[str, ...]:
        """Return the gateway's own secrets that are read from a vault."""
        named = {settings.admin_api_key_secret_name, settings.audit_chain_key_secret_name}
        named |= {settings.privacy_key_secret_name, settings.audit_witness_url_secret_name}
        return tuple(name for name in self.own if name in named and name)

    @classmethod
    def of(cls, settings: Settings) -> SecretNames:
        """Return the names of the secrets that the settings state, and else those of the vault."""
        is_stated = bool(settings.azure_openai_api_key.get_secret_value()) or not settings.azure_key_vault_url
        admin = _STATED_ADMIN_KEY if settings.admin_api_key.get_secret_value() else settings.admin_api_key_secret_name
        privacy = _STATED_PRIVACY_KEY if settings.privacy_key.get_secret_value() else settings.privacy_key_secret_name
        is_witness_stated = bool(settings.audit_witness_url.get_secret_value())
        return cls(
            privacy=privacy,
            witness=_STATED_WITNESS if is_witness_stated else settings.audit_witness_url_secret_name,
            backends=_STATED_BACKEND_KEY if is_stated else settings.azure_openai_api_key_secret_name,
            admin=admin,
            chain=settings.audit_chain_key_secret_name,
        )


def open_secrets(
    settings: Settings, names: SecretNames, tokens: CachedTokens, clock: Clock, resources: AsyncExitStack
) -> Secrets:
    """Make the secrets of this process. `resources` closes the vault. Sends no request."""
    stated = {
        **settings.stated_alert_secrets,
        _STATED_BACKEND_KEY: settings.azure_openai_api_key.get_secret_value(),
        _STATED_ADMIN_KEY: settings.admin_api_key.get_secret_value(),
        _STATED_PRIVACY_KEY: settings.privacy_key.get_secret_value(),
        _STATED_WITNESS: settings.audit_witness_url.get_secret_value(),
    }
    if not settings.azure_key_vault_url:
        return StatedSecrets(stated)
    vault = Vault(settings.azure_key_vault_url, lambda: tokens.credential)
    rules = {names.admin: admin_key_problem, names.chain: chain_key_problem, names.privacy: chain_key_problem}
    rules[names.witness] = webhook_problem
    secrets = KeyVaultSecrets(vault, clock, rules, backend_key_problem)
    resources.push_async_callback(secrets.aclose)
    return StatedSecrets(stated, secrets)
