"""Keep `azd down` from deleting the books."""

from __future__ import annotations

from infra.hooks.failures import HookFailed
from infra.hooks.variables import required, variable


def keep_books() -> None:
    """Refuse, unless DELETE_BOOKS_OF names this environment. Raises `HookFailed`."""
    environment = required("AZURE_ENV_NAME")
    if variable("DELETE_BOOKS_OF") != environment:
        raise HookFailed(
            "`azd down` deletes every resource group, also that of the books. `infra/scripts/teardown.sh` leaves the "
            f"books. If they shall go too, run `DELETE_BOOKS_OF={environment} azd down`."
        )
