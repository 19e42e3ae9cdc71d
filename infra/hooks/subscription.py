"""Keep the hooks in the subscription of azd's environment: the Azure CLI has one of its own."""

from __future__ import annotations

from infra.hooks.failures import HookFailed
from infra.hooks.programs import AzureCli
from infra.hooks.variables import required


def check_subscription(az: AzureCli) -> None:
    """Refuse to go on in another subscription, and so perhaps in another directory. Raises `HookFailed`."""
    wanted = required("AZURE_SUBSCRIPTION_ID")
    current = str(az.run("account", "show")["id"])
    if current.lower() != wanted.lower():
        raise HookFailed(
            f"The Azure CLI works on the subscription {current}, and azd on {wanted}. "
            f"Run `az account set --subscription {wanted}`, and this again."
        )
