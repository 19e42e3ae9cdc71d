"""The settings that take away a protection. This is the one list of them; `protections.py` has that of objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from shared.settings import Settings

WEAK_SETTINGS: Final[Mapping[str, Callable[[Settings], bool]]] = {
    "ADMIN_API_KEY": lambda settings: (
        settings.admin_api_key_enabled
        and bool(settings.admin_api_key.get_secret_value() or settings.admin_api_key_secret_name)
    ),
    "ALLOW_LOOPBACK_BACKENDS": lambda settings: settings.allow_loopback_backends,
    "AUDIT_RETENTION_MONTHS": lambda settings: settings.audit_retention_months > 0,
    "AUDIT_SIGNING_KEY_NAME": lambda settings: not (settings.audit_signing_key_name or settings.audit_signing_key_file),
    "AZURE_OPENAI_API_KEY": lambda settings: bool(settings.azure_openai_api_key.get_secret_value()),
    "BACKEND_HOST_SUFFIXES": lambda settings: (
        settings.backend_host_suffixes != Settings.model_fields["backend_host_suffixes"].default
    ),
    "ENTRA_LEGACY_AUDIENCES": lambda settings: bool(settings.entra_legacy_audiences),
    "TALLYGATE_STORAGE": lambda settings: settings.tallygate_storage == "memory",
    "TALLYGATE_STORAGE_ACCOUNT_KEY": lambda settings: bool(settings.tallygate_storage_account_key.get_secret_value()),
    "USE_MANAGED_IDENTITY": lambda settings: not settings.use_managed_identity,
}
"""By the name of a setting: whether its value is weaker than it could be. A missing signing key leaves no anchors."""


def weak_settings(settings: Settings) -> tuple[str, ...]:
    """Return the names of the settings whose values take away a protection."""
    return tuple(name for name, is_weak in WEAK_SETTINGS.items() if is_weak(settings))
