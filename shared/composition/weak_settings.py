"""The settings that take away a protection. This is the one list of them; `protections.py` has that of objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from shared.settings import Settings


def _is_changed(name: str) -> Callable[[Settings], bool]:
    """Return a rule for a setting that protects as long as it has its default."""
    return lambda settings: getattr(settings, name.lower()) != Settings.model_fields[name.lower()].default


WEAK_SETTINGS: Final[Mapping[str, Callable[[Settings], bool]]] = {
    "ADMIN_API_KEY": lambda settings: (
        settings.admin_api_key_enabled
        and bool(settings.admin_api_key.get_secret_value() or settings.admin_api_key_secret_name)
    ),
    "ALERT_ALLOW_PRIVATE_ADDRESSES": _is_changed("ALERT_ALLOW_PRIVATE_ADDRESSES"),
    "ALERT_EVENT_GRID_HOST_SUFFIXES": _is_changed("ALERT_EVENT_GRID_HOST_SUFFIXES"),
    "ALERT_HOST_SUFFIXES": _is_changed("ALERT_HOST_SUFFIXES"),
    "ALLOWED_AUTHORITIES": _is_changed("ALLOWED_AUTHORITIES"),
    "ALLOWED_TOKEN_SCOPES": _is_changed("ALLOWED_TOKEN_SCOPES"),
    "ALLOW_LOOPBACK_BACKENDS": _is_changed("ALLOW_LOOPBACK_BACKENDS"),
    "AUDIT_RETENTION_MONTHS": lambda settings: settings.audit_retention_months > 0,
    "AUDIT_SIGNING_KEY_NAME": lambda settings: not (settings.audit_signing_key_name or settings.audit_signing_key_file),
    "AZURE_OPENAI_API_KEY": lambda settings: bool(settings.azure_openai_api_key.get_secret_value()),
    "AUDIT_WITNESS_CONTAINER_URL": lambda settings: (
        not settings.audit_witness_container_url
        and not settings.audit_witness_url.get_secret_value()
        and not settings.audit_witness_url_secret_name
    ),
    "BACKEND_HOST_SUFFIXES": _is_changed("BACKEND_HOST_SUFFIXES"),
    "ENTRA_LEGACY_AUDIENCES": _is_changed("ENTRA_LEGACY_AUDIENCES"),
    "KEY_VAULT_HOST_SUFFIXES": _is_changed("KEY_VAULT_HOST_SUFFIXES"),
    "TALLYGATE_STORAGE": lambda settings: settings.tallygate_storage == "memory",
    "TALLYGATE_STORAGE_ACCOUNT_KEY": lambda settings: bool(settings.tallygate_storage_account_key.get_secret_value()),
    "USE_MANAGED_IDENTITY": lambda settings: not settings.use_managed_identity,
}
"""By the name of a setting: whether its value is weaker than it could be.

A missing signing key leaves no anchors. Without a witness the anchors have no copy that the gateway cannot reach.
"""


def weak_settings(settings: Settings) -> tuple[str, ...]:
    """Return the names of the settings whose values take away a protection."""
    return tuple(name for name, is_weak in WEAK_SETTINGS.items() if is_weak(settings))
