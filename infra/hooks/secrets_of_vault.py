"""Write the gateway's own secrets into its key vault, once.

They go through Azure Resource Manager, which reaches a private vault too. Neither azd nor a deployment keeps a copy. A
secret that exists is never written: another chain key would make a new version for nothing.
"""

from __future__ import annotations

import secrets
from typing import Final

from infra.hooks.failures import Conflict, HookFailed
from infra.hooks.programs import AzureCli
from infra.hooks.variables import required

ADMIN_KEY: Final = "tallygate-admin-key"
NAMES: Final = (ADMIN_KEY, "tallygate-chain-key", "tallygate-privacy-key")
_API_VERSION: Final = "api-version=2023-07-01"
_BYTES: Final = 48


def write_missing_secrets(az: AzureCli) -> None:
    """Make a random value for each secret that the vault lacks. Raises `HookFailed`."""
    vault = required("AZURE_KEY_VAULT_ID")
    held = _names_in(az, vault)
    missing = [name for name in NAMES if name not in held]
    for name in missing:
        _write(az, vault, name)
    print(f"Key vault: {'wrote ' + ', '.join(missing) if missing else 'all secrets are there'}.")


def _names_in(az: AzureCli, vault: str) -> set[str]:
    """Return the names of all secrets, page by page. Their values are not part of these answers."""
    names: set[str] = set()
    path = f"{vault}/secrets?{_API_VERSION}"
    while path:
        page = az.resource_manager("GET", path)
        names |= {each["name"].rpartition("/")[2] for each in page["value"]}
        path = (page.get("nextLink") or "").removeprefix(az.endpoint("resourceManager"))
    return names


def _write(az: AzureCli, vault: str, name: str) -> None:
    body = {"properties": {"value": secrets.token_urlsafe(_BYTES), "contentType": "made by the first provision"}}
    try:
        az.resource_manager("PUT", f"{vault}/secrets/{name}?{_API_VERSION}", body)
    except Conflict:
        vault_name = vault.rpartition("/")[2]
        raise HookFailed(
            f"The secret {name} was deleted. Its old value is needed for what it has signed. Recover it with "
            f"`az keyvault secret recover --vault-name {vault_name} --name {name}`, and run this again."
        ) from None
