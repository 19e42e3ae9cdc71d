"""Tell azd which deleted resources a provision has to recover, because their names are still taken."""

from __future__ import annotations

from typing import Any

from infra.hooks.programs import AzureCli, set_variable
from infra.hooks.variables import required


def find_deleted(az: AzureCli) -> None:
    """Set RECOVER_KEY_VAULT and RESTORE_OPENAI_ACCOUNTS anew: an old `true` would make the next provision fail."""
    vaults = az.run("keyvault", "list-deleted", "--resource-type", "vault") or []
    accounts = az.run("cognitiveservices", "account", "list-deleted") or []
    for name, found in (("RECOVER_KEY_VAULT", vaults), ("RESTORE_OPENAI_ACCOUNTS", accounts)):
        ours = [each["name"] for each in found if _is_ours(each)]
        set_variable(name, str(bool(ours)).lower())
        if ours:
            print(f"Deleted earlier, and recovered now: {', '.join(ours)}.")


def _is_ours(deleted: dict[str, Any]) -> bool:
    tags = (deleted.get("properties") or {}).get("tags") or deleted.get("tags") or {}
    return bool(tags.get("azd-env-name") == required("AZURE_ENV_NAME"))
