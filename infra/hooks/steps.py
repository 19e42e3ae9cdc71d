"""The steps of each hook, in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from infra.hooks.entra import ensure_application
from infra.hooks.package import prepare_package
from infra.hooks.programs import AzureCli
from infra.hooks.recovery import find_deleted
from infra.hooks.secrets_of_vault import write_missing_secrets
from infra.hooks.seed import seed
from infra.hooks.subscription import check_subscription
from infra.hooks.teardown import keep_books

_AZ = AzureCli()


def _in_its_subscription() -> None:
    check_subscription(_AZ)


STEPS: Final[dict[str, tuple[Callable[[], None], ...]]] = {
    "preprovision": (_in_its_subscription, lambda: ensure_application(_AZ), lambda: find_deleted(_AZ)),
    "postprovision": (_in_its_subscription, lambda: write_missing_secrets(_AZ)),
    "predeploy": (prepare_package,),
    "postdeploy": (_in_its_subscription, lambda: seed(_AZ)),
    "predown": (keep_books,),
}
