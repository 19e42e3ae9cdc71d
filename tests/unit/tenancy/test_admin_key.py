"""The management key is recognized, also while it is replaced."""

from __future__ import annotations

from shared.adapters.in_memory.secrets import StatedSecrets
from shared.application.tenancy.admin_key import AdminKey


async def test_the_stated_key_is_accepted_and_nothing_else() -> None:
    key = AdminKey(StatedSecrets({"ADMIN_API_KEY": "a key"}), "ADMIN_API_KEY")
    assert await key.accepts("a key")
    assert not await key.accepts("another")


async def test_without_a_key_nothing_is_accepted() -> None:
    key = AdminKey(StatedSecrets({"": ""}), "")
    assert not await key.accepts("a key")
