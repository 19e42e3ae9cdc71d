"""Name a caller's user by an alias, and its prompt by a keyed hash, for tenants that ask for it."""

from __future__ import annotations

from typing import Final

from shared.application.inference.body_threads import on_body_thread
from shared.application.ports.formats import InferenceFormat
from shared.application.tenancy.privacy_keys import PrivacyKeys
from shared.application.tenancy.pseudonymise_users import PseudonymiseUsers
from shared.domain.inference.parsed_body import ParsedBody
from shared.domain.tenancy.pseudonyms import prompt_hmac
from shared.domain.tenancy.tenant import Tenant

_LARGE_BODY_BYTES: Final = 65_536


class ProtectPrivacy:
    """Finds aliases and hashes prompts. Raises `SecretUnavailable` rather than leave either out."""

    def __init__(self, users: PseudonymiseUsers, keys: PrivacyKeys) -> None:
        self._users = users
        self._keys = keys

    async def alias(self, tenant: Tenant, user: str) -> str:
        """Return the alias of a user. Raises `StorageUnavailable`, too."""
        return await self._users.alias(tenant.tenant_id, user)

    async def prompt_hmac(self, tenant: Tenant, body: ParsedBody, format_: InferenceFormat) -> str:
        """Return the keyed hash of a prompt. A large one is read on a thread, so that streams go on meanwhile."""
        key, is_large = await self._keys.newest(), len(body.raw) > _LARGE_BODY_BYTES
        prompt = await on_body_thread(format_.prompt, body) if is_large else format_.prompt(body)
        return prompt_hmac(key, tenant.tenant_id, prompt)
