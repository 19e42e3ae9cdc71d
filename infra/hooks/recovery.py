"""Tell azd which deleted resources a provision has to recover, because their names are still taken."""

from __future__ import annotations

from typing import Any

from infra.hooks.programs import AzureCli, set_variable
from infra.hooks.variables import required


def find_deleted(az: AzureCli) -> None:
    """Set RECOVER_KEY_VAULT and DELETED_OPENAI_ACCOUNTS anew: Azure refuses to recover what is not deleted."""
    vaults = _ours(az.run("keyvault", "list-deleted", "--resource-type", "vault"))
    accounts = _ours(az.run("cognitiveservices", "account", "list-deleted"))
    set_variable("RECOVER_KEY_VAULT", str(bool(vaults)).lower())
    set_variable("DELETED_OPENAI_ACCOUNTS", ",".join(accounts))
    if vaults or accounts:
        print(f"Deleted earlier, and recovered now: {', '.join([*vaults, *accounts])}.")


def _ours(deleted: list[dict[str, Any]] | None) -> list[str]:
    return [each["name"] for each in deleted or [] if _is_ours(each)]


def _is_ours(deleted: dict[str, Any]) -> bool:
    tags = (deleted.get("properties") or {}).get("tags") or deleted.get("tags") or {}
    return bool(tags.get("azd-env-name") == required("AZURE_ENV_NAME"))
